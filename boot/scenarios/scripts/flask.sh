# SPDX-License-Identifier: MIT OR Apache-2.0
# flask.sh: lending under Flask, with dom0 as control domain, lender and broker. Where all is permitted everything
# works; each permission that goes takes its own operations with it and nothing else; to a guest of a type that
# nothing is permitted for, nothing is lent.
. /usr/lib/xenlend-scenarios/common.sh
modprobe ownframes
[ "$(xl getenforce)" = Enforcing ] || fail "Flask enforces nothing: $(xl getenforce)"
xl list -Z
lend-probe g1 "$(xl domid g1)" || fail "see above"
lend-probe g2 "$(xl domid g2)" permitted flask-set-bool || fail "see above"
xl destroy g2
labelled g2 isolated_domU_t
lend-probe g2 "$(xl domid g2)" denied || fail "see above"
xl dmesg | grep 'avc: *denied' >denials
if xl dmesg | grep -E "Assertion|Xen BUG"; then fail "Xen complains"; fi
