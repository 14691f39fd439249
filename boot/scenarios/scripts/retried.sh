# SPDX-License-Identifier: MIT OR Apache-2.0
# retried.sh [ROUNDS]: every kind of instruction runs over and over on two vCPUs, without a driver in the guest, while
# the frames under it are taken away and come back: also those that stock Xen cannot complete by hand. The frames that
# were taken away are poisoned at once, so a late access shows.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m own 9
tell lend 0 m 16M
tell drive $guest xenlend-touch retried 16M 'revoke m 0 36K' --rounds "${1:-2}" | tee result
grep -q ' failures=0 avx2=true' result
revocations=$(sed -n 's/.* revocations=\([0-9]*\) .*/\1/p' result)
[ "$(grown revoked_pages)" -ge "$revocations" ] || fail "not revoked so often: $(status)"
[ "$(grown pause_brackets)" = 0 ] || fail "the guest was paused: $(status)"
# An access that the broker asks to be done for the guest is a breach, and the end of the link.
[ "$(grown stage2_faults)" -gt 0 ] || fail "no vCPU waited: $(status)"
tell verify m
status
