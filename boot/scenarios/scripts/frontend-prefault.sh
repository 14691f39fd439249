# SPDX-License-Identifier: MIT OR Apache-2.0
# Pages that were brought in before are there: touching them makes no task sleep.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area m memfd 4M
tell lend 0 m 16M
tell fill m 0 4M 1
touch_lent prefault 16M 4M
waits=$(driver_counter waits)
touch_lent check 16M 4M 1
[ "$(driver_counter waits)" = "$waits" ] || fail "a task slept for a page that was brought in"
refused 'No such device' touch_lent prefault 64M 4M
refused 'Invalid argument' touch_lent prefault 16M 1
no_complaint
