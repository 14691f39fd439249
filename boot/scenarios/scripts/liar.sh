# SPDX-License-Identifier: MIT OR Apache-2.0
# A broker that acknowledges without removing is found out in check mode, and no stale access comes of it.
. /usr/lib/xenlend-scenarios/common.sh
fresh_guest --check --broker-image /usr/libexec/xen/boot/xenlend-stubdom-faulty \
    --broker-args fault=skip-unmap
begin
lend_control
tell area o own 8
tell prepare o
tell lend 0 o 16M
start_hunt 16M 8 0xdb
tell cycle o revoke 1000000000 --until-forced
tell revoke o 0 32K
tell counts c
tell verify o
[ "$(counter lies)" -ge 1 ] || fail "no lie was counted: $(status)"
[ "$(counter present_pages)" = 0 ]
tell await BrokerCondemned
xenlend status
xenlend status --json >status.json
grep -qi 'lie' status.json
end
xl destroy $guest
await_nothing_left
