# SPDX-License-Identifier: MIT OR Apache-2.0
# stale-holes.sh CYCLES: holes are punched into a memfd under two vCPUs that read and write it. dom0's kernel
# poisons freed pages and looks at the poison when it uses them again.
. /usr/lib/xenlend-scenarios/common.sh
grep -q 'page_poison=1' /proc/cmdline || fail "dom0 does not poison freed pages"
dmesg -c >dmesg.before
begin
lend_control
tell area m memfd 32K
tell prepare m
tell lend 0 m 16M
start_hunt 16M 8 0xaa --zeros
tell cycle m punch "$1"
end_hunt
tell counts c
# Uses the freed pages again, so that the kernel looks at all of them.
dd if=/dev/zero of=/dev/shm/eat bs=1M count=128 2>dd.err
rm -f /dev/shm/eat
dmesg >dmesg.after
if grep -i -E 'pagealloc|corrupt|BUG' dmesg.after; then
    fail "somebody wrote into a freed page"
fi
status
