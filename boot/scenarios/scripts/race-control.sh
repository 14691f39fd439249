# SPDX-License-Identifier: MIT OR Apache-2.0
# race-control.sh RUNS: the same without pausing the borrower around each add: Xen has to kill it within 500
# adds. A run in which it does not, or in which the emulator was faster, is void, and another guest is
# tried; if none of RUNS guests dies of it, race.sh proves nothing.
. /usr/lib/xenlend-scenarios/common.sh
clear_away
rmmod xenlend
modprobe xenlend test_unpaused_adds=1
run=0
while [ $run -lt "$1" ]; do
    run=$((run + 1))
    xl dmesg -c >>xen.log
    fresh_guest || continue
    begin
    lend_control
    tell area o own 8
    tell prepare o
    tell lend 0 o 16M
    start_hunt 16M 8 0xdb
    # The guest dies at some time, and nothing comes back any more. 61 times 8 pages, and 8 on their way.
    tell cycle o revoke 61 --pages 8 --no-wait --patience 30 | tee cycle.out
    adds=$(sed -n 's/.* adds_4kib=\([0-9]*\) .*/\1/p' cycle.out)
    xl dmesg | tee run.log
    exec 3<&-
    end
    # Xen says so, and the guest is gone.
    if grep -q 'domain_crash called from arch/x86/hvm' run.log && ! xl domid $guest && [ "$adds" -le 500 ]; then
        echo "run $run: Xen killed the guest after $adds unpaused adds"
        exit 0
    fi
    echo "run $run: void, $adds adds, triple faults: $(grep -c 'Triple fault' run.log)"
done
fail "no guest of $1 died of unpaused adds"
