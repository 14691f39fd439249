# SPDX-License-Identifier: MIT OR Apache-2.0
# locked-revoked.sh REVOCATIONS: two vCPUs increment a counter with locked instructions while its page is taken
# away so many times: the sum is exact, and nobody but the guest's own instruction did anything.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 4K
tell lend 0 m 16M
tell drive $guest xenlend-touch count 16M --revoke 'revoke m 0 4K' --rounds $(($1 + 20)) | tee sum
grep -q '^sum=' sum
# Now and then it is taken away where it is not yet back: 2 of 5,000 times, seen once.
[ "$(grown revoked_pages)" -ge "$1" ] || fail "not revoked so often: $(status)"
[ "$(grown pause_brackets)" = 0 ] || fail "the guest was paused: $(status)"
# An access that the broker asks to be done for the guest is a breach, and the end of the link.
[ "$(grown stage2_faults)" -gt 0 ] || fail "no vCPU waited: $(status)"
