# SPDX-License-Identifier: MIT OR Apache-2.0
# A program says how it wants a lease mapped: what needs ordered stores is refused on a write-combining lease, and
# served uncached if it asks for that, page by page, also after the pages have moved.
. /usr/lib/xenlend-scenarios/frontend-common.sh
guest-exec "$guest" sh -c 'echo always >/sys/kernel/mm/transparent_hugepage/enabled'
begin
tell area o own 1024 --contiguous
tell fill o 0 4M 1
tell lend 0 o 16M
touch_lent prefault 16M 4M
touch_lent types 16M 4M | tee types
grep -q '^write_back=false$' types || fail "stock leases are write-combining"
grep -q '^pages=1024$' types || fail "not all pages were compared"
# The plain mapping has entries of 2 MiB, and the uncached one none beside them.
grep -q '^entries_2mib=2$' types || fail "entries of 2 MiB: $(cat types)"
tell revoke o 0 4M
touch_lent prefault 16M 4M
entries=$(driver_counter pages_inserted)
touch_lent types 16M 4M
[ $(($(driver_counter pages_inserted) - entries)) -ge 1024 ] || fail "the uncached pages are not mapped one by one"
no_complaint
