# SPDX-License-Identifier: MIT OR Apache-2.0
# instructions.sh KIND…: every kind of memory instruction on pages that were revoked a moment ago, in and
# across pages, in both directions.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m "$@"
tell lend 0 m 16M
tell drive $guest xenlend-touch instructions 16M 'revoke m 0 16K' | tee result
grep -q 'failures=0 avx=true' result
[ "$(grown revoked_pages)" -ge 400 ] || fail "hardly anything was revoked: $(status)"
# With the borrower's driver most touches are faults of the guest's kernel, which wants the page; it may
# want more than one at a time. Every run begins with pages that are away.
runs=$(sed -n 's/.* runs=\([0-9]*\) .*/\1/p' result)
[ $(($(grown stage2_faults) + $(grown wants))) -ge "$runs" ] || fail "hardly anything faulted: $(status)"
status
