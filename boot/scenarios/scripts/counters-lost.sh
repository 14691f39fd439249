# SPDX-License-Identifier: MIT OR Apache-2.0
# counters-lost.sh MOVES: the same without the borrower's driver, so that increments meet absent pages. Xen 4.20
# does them as a read and a write: how many get lost is printed. None may come out of nowhere.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area o own 4
tell lend 0 o 16M
tell drive $guest xenlend-touch --dev-mem count-moving 16M 4 'revoke o 0 16K' --before nothing --moves "$1" | tee sum
grep -q "^increments=$(($1 * 400)) lost=" sum
if grep -q ' lost=0 ' sum; then
    fail "nothing got lost: then counters that are exact with the driver show nothing"
fi
[ "$(grown revoked_pages)" -ge $(($1 * 4)) ] || fail "the pages did not move: $(status)"
tell verify o
