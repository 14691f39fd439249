# SPDX-License-Identifier: MIT OR Apache-2.0
# The lender's memory goes for good: programs see zeros, or SIGBUS where the lender has chosen that.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area a memfd 64K
tell area b memfd 64K
tell lend 0 a 16M
# XENLEND_REGION_LOSS_FAULT
tell lend 1 b 32M --flags 0x100
tell fill a 0 64K 1
tell fill b 0 64K 1
touch_lent check 16M 64K 1
touch_lent check 32M 64K 1
rm -f touching
mkfifo touching
guest-exec "$guest" xenlend-touch until-bus 32M >touching &
toucher=$!
exec 3<touching
read -r word <&3
[ "$word" = touching ] || fail "it said $word"
# Another process keeps the descriptor, so the regions outlive the memory.
holder=$(tell hold)
kill -9 "$lender"
wait_for_end "$lender"
read -r word <&3
[ "$word" = SIGBUS ] || fail "it ended with $word"
exec 3<&-
wait $toucher
touch_lent same 16M 64K 0
touch_lent until-bus 32M | grep -q SIGBUS || fail "a lost page was there for the next program"
kill "$holder"
wait_for_end "$holder"
no_complaint
