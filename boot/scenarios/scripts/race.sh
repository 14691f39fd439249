# SPDX-License-Identifier: MIT OR Apache-2.0
# race.sh ADDS: two vCPUs on two processors touch a page that is taken away and comes back: one page, so
# that an access is under way whenever it does.
. /usr/lib/xenlend-scenarios/common.sh
begin
lend_control
tell area m memfd 4K
tell prepare m
tell lend 0 m 16M
start_hunt 16M 1 0xdb
# Pages that are taken away last may still be away at the end.
tell cycle m revoke $(($1 + 8)) | tee cycle.out
end_hunt
tell counts c
adds=$(sed -n 's/.* adds_4kib=\([0-9]*\) .*/\1/p' cycle.out)
[ "$adds" -ge "$1" ] || fail "only $adds adds"
status
