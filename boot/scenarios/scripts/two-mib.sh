# SPDX-License-Identifier: MIT OR Apache-2.0
# Runs of 2 MiB are lent as 2 MiB entries and revoked whole, also when only a page of them is taken away.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area o own 1024 --contiguous
tell fill o 0 4M 1
tell lend 0 o 16M
small=$(counter adds_4kib)
touch_lent check 16M 4M 1
[ "$(grown adds_2mib)" = 2 ] || fail "$(grown adds_2mib) entries of 2 MiB instead of 2"
for round in 1 2 3 4 5; do
    revoked=$(counter revoked_pages)
    tell revoke o 2M 2M
    [ "$(counter revoked_pages)" = $((revoked + 512)) ] || fail "not revoked whole"
    touch_lent check 16M 4M 1
    [ "$(grown adds_2mib)" = $((2 + round)) ] || fail "not lent whole in round $round"
done
[ "$(counter adds_4kib)" = "$small" ] || fail "entries of 4 KiB were made"
tell verify o
# A part of an entry: the window is mapped anew over one of its pages.
revoked=$(counter revoked_pages)
tell unmap o 2101248 4K
[ "$(counter revoked_pages)" = $((revoked + 512)) ] || fail "a part was revoked, not the whole"
touch_lent check 16M 2M 1
touch_lent same $(((18 << 20) + 4096)) 1K 0
status
