# SPDX-License-Identifier: MIT OR Apache-2.0
# A driver that makes the first entry of a page read-only and wants a second fault for a write, as
# that of shmem objects does from Linux 7.1 on: all of a window is lent at its first touch, and
# nothing of it refused.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area o own 16 --notify-writes
tell fill o 0 64K 5
tell lend 0 o 16M
# Nothing has an entry: the lender's own writes have made some that may be written.
tell revoke o 0 64K
touch_lent check 16M 64K 5
[ "$(grown page_ins)" = 1 ] || fail "the window was not lent whole: $(status)"
touch_lent fill 16M 64K 6
tell check o 0 64K 6
tell revoke o 0 64K
touch_lent fill 16M 64K 7
tell check o 0 64K 7
[ "$(grown page_ins)" = 2 ] || fail "the window was not lent whole: $(status)"
[ "$(grown refused_frames)" = 0 ] || fail "refused: $(status)"
if [ "$DRIVER" = with ]; then
    [ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
fi
status
