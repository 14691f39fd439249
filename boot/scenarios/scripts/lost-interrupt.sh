# SPDX-License-Identifier: MIT OR Apache-2.0
# lost-interrupt.sh READS SECONDS: whether this guest, of two vCPUs, loses an interrupt where an access that Xen
# completes by hand ends in a page fault. Nothing is lent, so nothing is added, removed, or paused. Run it by hand with
# `lab run`, with and without the line that boot/decisions/0014-lost-interrupts.md names: it judges nothing.
. /usr/lib/xenlend-scenarios/common.sh
begin
touch_lent --dev-mem straddle 128M --reads "$1" >reads 2>&1 &
reader=$!
seconds=0
while kill -0 $reader 2>/dev/null && [ $seconds -lt "$2" ]; do
    sleep 1
    seconds=$((seconds + 1))
done
if kill -0 $reader 2>/dev/null; then
    xl dmesg -c >xen.log
    xl debug-keys q
    xl dmesg -c >xen.log
    sed -n '/information for domain '"$(xl domid $guest)"':/,/information for domain/s/.*\(VCPU[0-9]: .*\|pause_count.*\)/\1/p' xen.log
    echo "lost: the guest stands still after $2 s (upcall_pend=01 on vCPU 0: an event that it never takes)"
    kill $reader
else
    cat reads
    echo "not lost"
fi
clear_away
