# SPDX-License-Identifier: MIT OR Apache-2.0
# Memory is shared through the driver: both sides see each other's writes, also after the frames were
# taken away and came back elsewhere.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area m memfd 1M
tell lend 0 m 16M
tell fill m 0 1M 1
before=$(driver_counter guest_page_faults)
touch_lent check 16M 1M 1
[ "$(driver_counter guest_page_faults)" -gt "$before" ] || fail "not through the driver"
[ "$(driver_counter waits)" -ge 1 ] || fail "no task slept"
touch_lent fill 16M 1M 2
tell check m 0 1M 2
for round in 3 4 5 6; do
    tell punch m 0 1M
    tell fill m 0 1M $round
    touch_lent check 16M 1M $round
done
[ "$(driver_counter zaps)" -ge 4 ] || fail "revocations were not told: $(guest-exec "$guest" xenlend-touch driver)"
[ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
guest-exec "$guest" xenlend-touch driver
status
no_complaint
