# SPDX-License-Identifier: MIT OR Apache-2.0
# race.sh INVALIDATIONS: two vCPUs on two processors touch pages that are taken away and come back.
. /usr/lib/xenlend-scenarios/common.sh
begin
lend_control
tell area m memfd 16K
tell prepare m
tell lend 0 m 16M
start_hunt 16M 4 0xdb
tell cycle m revoke "$1"
end_hunt
tell counts c
[ "$(grown adds_4kib)" -ge "$1" ] || fail "too few adds: $(grown adds_4kib)"
status
