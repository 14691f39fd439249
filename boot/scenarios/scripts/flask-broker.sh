# SPDX-License-Identifier: MIT OR Apache-2.0
# flask-broker.sh: the broker domain and dom0's module under Flask. Under Xen's example policy they lend to a guest
# of its ordinary type; no broker comes up for a guest of a type that nothing is permitted for.
. /usr/lib/xenlend-scenarios/common.sh
guest=g2 link=xenlend-g2
[ "$(xl getenforce)" = Enforcing ] || fail "Flask enforces nothing: $(xl getenforce)"
clear_away
labelled $guest isolated_domU_t
if xenlend up $guest; then fail "a broker for a guest that nothing may be lent to"; fi
clear_away
labelled $guest domU_t
xenlend up $guest
xl list -Z
begin
tell area m memfd 1M
tell lend 0 m 16M
for generation in 1 3 5; do
    tell fill m 0 1M $generation
    touch_lent check 16M 1M $generation
    tell revoke m 0 1M
    touch_lent fill 16M 1M $((generation + 1))
    tell check m 0 1M $((generation + 1))
done
status
