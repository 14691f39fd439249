# SPDX-License-Identifier: MIT OR Apache-2.0
# race-control.sh: the same without pausing the borrower around each add: it has to die of it
# within 500 adds, or the scenario proves nothing.
. /usr/lib/xenlend-scenarios/common.sh
if xl domid $guest; then xl destroy $guest; fi
await_nothing_left
rmmod xenlend
modprobe xenlend test_unpaused_adds=1
fresh_guest
begin
lend_control
tell area m memfd 4K
tell prepare m
tell lend 0 m 16M
start_hunt 16M 1 0xdb
# The guest may die at any time: rounds in which nothing is taken away end this.
tell cycle m revoke 500 --rounds 20000 | tee cycle.out
adds=$(sed -n 's/.* adds_4kib=\([0-9]*\) .*/\1/p' cycle.out)
xl dmesg | tail -n 30
xl list
# Xen says so, and the guest is gone.
xl dmesg | grep -q 'domain_crash called from arch/x86/hvm' || fail "nobody was killed after $adds unpaused adds"
if xl domid $guest; then
    fail "the guest lives after $adds unpaused adds"
fi
[ "$adds" -le 500 ] || fail "it took $adds adds"
