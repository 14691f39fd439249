# SPDX-License-Identifier: MIT OR Apache-2.0
# Two vCPUs increment a counter in a page that stays, with locked instructions: the sum is exact, and
# dom0 sees it too.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 64K
tell lend 0 m 16M
touch_lent count 16M --threads 2 --increments 1000000 | tee sum
grep -q '^sum=2000000 ' sum
# 2,000,000 is 0x1e8480.
[ "$(tell peek m 0)$(tell peek m 1)$(tell peek m 2)" = 80841e ]
