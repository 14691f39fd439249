# SPDX-License-Identifier: MIT OR Apache-2.0
# Memory that is lent for reading, from a mapping that may not even be written: the guest reads it, and a write
# ends the program that tries it and reaches nothing.
. /usr/lib/xenlend-scenarios/common.sh
begin
yes 0123456789abcdef | head -c 65536 >/dev/shm/file
tell area r file /dev/shm/file 64K --read-only
# XENLEND_REGION_READONLY
tell lend 0 r 16M --flags 2
expected=$(head -c 8 /dev/shm/file | hexdump -v -e '/1 "%02x"')
[ "$(touch_lent peek 16M 8)" = "$expected" ] || fail "other bytes: $(touch_lent peek 16M 8)"
for offset in 0 4096 65528; do
    at=$(((16 << 20) + offset))
    before=$(touch_lent peek $at 8)
    touch_lent fault $at --write || fail "no fault at $offset"
    [ "$(touch_lent peek $at 8)" = "$before" ] || fail "a write reached the page at $offset"
done
yes 0123456789abcdef | head -c 65536 | cmp - /dev/shm/file
rm /dev/shm/file
status
