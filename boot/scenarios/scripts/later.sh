# SPDX-License-Identifier: MIT OR Apache-2.0
# A `rep stos` is outstanding on one vCPU while the other asks for the same page: the broker says Later,
# both finish, the guest lives.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 4K
tell lend 0 m 16M
tell drive $guest xenlend-touch later 16M 'revoke m 0 4K' --rounds 60
[ "$(grown laters)" -ge 1 ] || fail "nothing was answered Later: $(status)"
status
