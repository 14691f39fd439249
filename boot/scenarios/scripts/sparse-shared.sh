# SPDX-License-Identifier: MIT OR Apache-2.0
# sparse-shared.sh PAGES: so many pages, spread over a window of 4 GiB, are present at once in a guest that has
# less memory than they take; then they are taken away with their contents, and then for good.
. /usr/lib/xenlend-scenarios/frontend-common.sh
pages=$1
every=$(((4 << 18) / pages))
begin
guest-exec "$guest" sed -n 's/^MemTotal: *//p' /proc/meminfo
tell area m memfd 4G
tell lend 0 m 0
tell fill-spread m "$pages" "$every" 1
touch_lent spread 0 4G "$pages" "$every" 1
present=$(counter present_pages)
[ "$present" -ge "$pages" ] || fail "only $present pages are present"
# Once more, with everything present: nobody waits.
waits=$(driver_counter waits)
touch_lent spread 0 4G "$pages" "$every" 1
[ "$(counter present_pages)" -ge "$pages" ] || fail "pages went by themselves: $(status)"
[ "$(driver_counter waits)" = "$waits" ] || fail "a task slept for a page that was present"
# Taken away, contents kept. In parts: no two pages are neighbours, so each is a call to Xen of its own, and once
# the broker has read a request it has one deadline, however slow the emulator is.
for part in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do tell revoke m $((part * 256))M 256M; done
[ "$(counter present_pages)" = 0 ] || fail "still present: $(status)"
touch_lent spread 0 1G $((pages / 4)) "$every" 2 --fill
tell check-spread m $((pages / 4)) "$every" 2
# And for good.
for part in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do tell punch m $((part * 256))M 256M; done
[ "$(counter present_pages)" = 0 ] || fail "still present: $(status)"
touch_lent spread 0 1G $((pages / 4)) "$every" 0
[ "$(counter forced_revocations)" = 0 ] || fail "the broker was taken for dead: $(status)"
[ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
tell unlend 0
status
guest-exec "$guest" xenlend-touch driver
no_complaint
