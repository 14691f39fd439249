# SPDX-License-Identifier: MIT OR Apache-2.0
# race.sh ADDS [unpaused]: two vCPUs on two processors touch pages that are taken away and come back: few pages, so that
# an access is under way whenever they do. Each page is an add of its own, since no two frames are neighbours.
# The guest lives. With unpaused, it is not paused around the adds: that needs a Xen that is mended.
#
# With two processors the emulator now and then breaks a vCPU, lent memory or not (race-baseline.sh;
# boot/decisions/0010). That is counted apart and a new guest goes on; a death by Xen's hand, or a vCPU that
# waits for its broker for ever, is a failure.
. /usr/lib/xenlend-scenarios/common.sh
total=0
faults=0

# Guest or broker is gone: fails unless the emulator made a vCPU of theirs triple-fault.
judge_death() {
    xl dmesg -c | tee -a xen.log >death.log
    if grep 'domain_crash' death.log; then fail "Xen killed the guest"; fi
    grep -q 'Triple fault - invoking HVM shutdown' death.log || fail "somebody died: $(cat death.log)"
    emulator_fault
}

# The guest lives and nothing comes back: fails if one of its vCPUs waits for the broker.
judge_stuck() {
    xl debug-keys q
    xl dmesg -c | tee -a xen.log >stuck.log
    # The vCPUs of the guest alone; bit 2 is VPF_blocked_in_xen (xen/sched.h).
    sed -n "/General information for domain $(xl domid $guest):/,/^(XEN) General information for domain/p" \
        stuck.log >vcpus.log
    grep -q 'pause_flags=' vcpus.log || fail "Xen does not say how the vCPUs are: $(cat stuck.log)"
    if grep -E 'pause_flags=[0-9a-f]*[4567cdef]$' vcpus.log; then
        fail "a vCPU waits for the broker for ever: $(tell status)"
    fi
    emulator_fault
}

emulator_fault() {
    faults=$((faults + 1))
    echo "after $total adds: emulator fault $faults"
    [ $faults -le 60 ] || fail "the emulator killed $faults guests within $total adds: this shows nothing"
}

xl dmesg -c >xen.log
fresh=yes
if [ "${2:-}" = unpaused ]; then
    clear_away
    rmmod xenlend
    modprobe xenlend test_unpaused_adds=1
    fresh=no
fi
while [ $total -lt "$1" ]; do
    if [ $fresh = no ] && ! fresh_guest; then
        judge_death
        continue
    fi
    fresh=no
    begin
    lend_control
    tell area o own 8
    tell prepare o
    tell lend 0 o 16M
    start_hunt 16M 8 0xdb
    # Pages that are taken away last may still be away at the end.
    tell cycle o revoke $((($1 - total) / 8 + 8)) --pages 8 --no-wait --patience 30 | tee cycle.out
    adds=$(sed -n 's/.* adds_4kib=\([0-9]*\) .*/\1/p' cycle.out)
    total=$((total + adds))
    if [ $total -ge "$1" ]; then
        end_hunt
        tell counts c
        tell verify o
        status
    elif xl domid $guest && xl domid $link; then
        judge_stuck
    else
        judge_death
    fi
    exec 3<&-
    end
done
echo "adds=$total emulator_faults=$faults"
