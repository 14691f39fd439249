# SPDX-License-Identifier: MIT OR Apache-2.0
# frontend-share.sh WAITS: while a task waits for pages, one second each in the lender, another on the same
# single vCPU gets done what it gets done while the first sleeps for as long. Without the driver it does not,
# which shows that the measure can fail.
. /usr/lib/xenlend-scenarios/frontend-common.sh
waits=$1
value() { sed -n "s/^$1=//p" "$2"; }
delay() { echo "$1" >/sys/module/ownframes/parameters/fault_delay_ms; }
begin
trap 'delay 0; end' EXIT
tell area o own "$waits"
tell lend 0 o 16M
delay 1000
touch_lent share 16M "$waits" | tee with
tell revoke o 0 $((waits << 12))
touch_lent --dev-mem share 16M "$waits" | tee without
delay 0
for run in with without; do
    # The lender's seconds were waited for; it faults all of the window in at the first touch of it.
    [ "$(value waited_ms $run)" -ge $((waits * 1000)) ] || fail "nobody waited: $(cat $run)"
done
# In per cent of what it gets done beside a task that sleeps.
share() { echo $((100 * $(value work_waiting "$1") / $(value work_sleeping "$1"))); }
[ "$(share with)" -ge 60 ] || fail "not its share: $(cat with)"
# Without the driver nobody runs while the vCPU stands still. The guest takes that time for the waiter's, and
# gives the other as much afterwards: half of the time is what is left.
[ $((3 * $(share with))) -ge $((4 * $(share without))) ] ||
    fail "a vCPU that stands still gets work done: $(cat without)"
no_complaint
