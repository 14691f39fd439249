# SPDX-License-Identifier: MIT OR Apache-2.0
# share-other.sh KIND…: memory of a kind that does not migrate, taken away by other means, contents kept.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area d "$@"
tell lend 0 d 16M --bytes 4M
bytes=4M
for generation in 1 3 5; do
    tell fill d 0 $bytes $generation
    touch_lent check 16M $bytes $generation
    tell revoke d 0 $bytes
    touch_lent check 16M $bytes $generation
    touch_lent fill 16M $bytes $((generation + 1))
    tell check d 0 $bytes $((generation + 1))
    tell revoke d 0 $bytes
    tell check d 0 $bytes $((generation + 1))
    touch_lent check 16M $bytes $((generation + 1))
done
[ "$(grown revoked_pages)" -ge $((6 * 1024)) ] || fail "not everything was revoked: $(status)"
status
