# SPDX-License-Identifier: MIT OR Apache-2.0
# stale-own-control.sh FAULT CYCLES: the same with a broker that breaks its contract. This passes only if
# the stale access is noticed: otherwise the scenario would prove nothing.
. /usr/lib/xenlend-scenarios/common.sh
fresh_guest --broker-image /usr/libexec/xen/boot/xenlend-stubdom-faulty --broker-args "fault=$1"
begin
lend_control
tell area o own 8
tell prepare o
tell lend 0 o 16M
start_hunt 16M 8 0xdb
tell cycle o revoke 1000000000 --no-wait --rounds "$2"
# Only what was counted in the lender's memory is evidence: a hunter may fail for other reasons.
if ! end_hunt; then cat hunt.err; fi
noticed=0
tell counts c --dirty && noticed=1
tell verify o || noticed=1
status
# What such a broker has left lent is not dom0's to use again before the borrower is gone: with stock Xen the
# borrower writes to it, and lend-aware Xen refuses it as a page table.
xl destroy $guest
await_nothing_left
[ $noticed = 1 ] || fail "a broker with $1 was not noticed"
