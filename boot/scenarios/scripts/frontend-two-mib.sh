# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs of 2 MiB that are present whole are mapped by one entry of the program's page table, and come back
# so after they were revoked.
. /usr/lib/xenlend-scenarios/frontend-common.sh
guest-exec "$guest" sh -c 'echo always >/sys/kernel/mm/transparent_hugepage/enabled'
begin
tell area o own 1024 --contiguous
tell fill o 0 4M 1
tell lend 0 o 16M
touch_lent prefault 16M 4M
touch_lent check 16M 4M 1
[ "$(driver_counter entries_2mib)" -ge 2 ] || fail "no entries of 2 MiB: $(guest-exec "$guest" xenlend-touch driver)"
for round in 1 2 3; do
    entries=$(driver_counter entries_2mib)
    tell revoke o 0 4M
    touch_lent check 16M 4M 1
    [ "$(driver_counter entries_2mib)" -gt "$entries" ] || fail "not mapped whole in round $round"
done
tell verify o
no_complaint
