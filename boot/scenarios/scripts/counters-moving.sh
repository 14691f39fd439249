# SPDX-License-Identifier: MIT OR Apache-2.0
# counters-moving.sh MOVES: two vCPUs increment counters with locked instructions, in pages that a driver moves
# before each burst and that the borrower's driver then brings in: the sums should be exact. Not in the list of
# scenarios: 300 moves lost 150 of 120,000 increments, since a prefault is answered from what the driver knows,
# and the word of the last revoke may still be on its way.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area o own 4
tell lend 0 o 16M
tell drive $guest xenlend-touch count-moving 16M 4 'revoke o 0 16K' --before prefault --moves "$1" | tee sum
grep -q "^increments=$(($1 * 400)) lost=0 " sum
[ "$(grown revoked_pages)" -ge $(($1 * 4)) ] || fail "the pages did not move: $(status)"
tell verify o
no_complaint
