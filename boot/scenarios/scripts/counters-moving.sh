# SPDX-License-Identifier: MIT OR Apache-2.0
# counters-moving.sh MOVES: two vCPUs increment counters with locked instructions, in pages that a driver of dom0
# moves before each burst and that the borrower's driver then brings in: the sums are exact. No vCPU has an access
# done for it by hand meanwhile.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area o own 4
tell lend 0 o 16M
tell drive $guest xenlend-touch count-moving 16M 4 'revoke o 0 16K' --before prefault --moves "$1" | tee sum
grep -q "^increments=$(($1 * 400)) lost=0 " sum
[ "$(grown stage2_faults)" = 0 ] || fail "an increment met an absent page: $(status)"
[ "$(grown revoked_pages)" -ge $(($1 * 4)) ] || fail "the pages did not move: $(status)"
tell verify o
no_complaint
