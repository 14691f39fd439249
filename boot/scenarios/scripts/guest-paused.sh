# SPDX-License-Identifier: MIT OR Apache-2.0
# A borrower never lets go: first its vCPUs touch lent pages without a pause, then it is stopped, maybe in
# the middle of an access. The lender gets its frames all the same, from the broker and without force.
. /usr/lib/xenlend-scenarios/common.sh
begin
lend_control
tell area o own 8
tell prepare o
tell lend 0 o 16M
start_hunt 16M 8 0xdb
tell cycle o revoke 200
for round in 1 2 3 4 5 6 7 8 9 10; do
    xl pause $guest
    tell revoke o 0 32K
    xl unpause $guest
    tell cycle o revoke 20
done
end_hunt
tell counts c
tell verify o
[ "$(grown forced_revocations)" = 0 ] || fail "the broker did not do it: $(status)"
status
