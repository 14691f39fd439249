# SPDX-License-Identifier: MIT OR Apache-2.0
# share-holes.sh KIND…: a hole is punched into lent memory: the guest sees zeros at once, and what either
# side writes there afterwards.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m "$@"
tell lend 0 m 16M
tell fill m 0 1M 1
touch_lent check 16M 1M 1
tell punch m 256K 256K
touch_lent same $(((16 << 20) + (256 << 10))) 256K 0
touch_lent check 16M 256K 1
touch_lent fill 16M 1M 2
tell check m 0 1M 2
tell punch m 0 1M
[ "$(tell peek m 5000)" = 00 ]
tell fill m 0 1M 3
touch_lent check 16M 1M 3
[ "$(grown revoked_pages)" -ge 320 ] || fail "the holes revoked nothing: $(status)"
status
