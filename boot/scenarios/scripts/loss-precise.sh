# SPDX-License-Identifier: MIT OR Apache-2.0
# The lender's memory goes for good: without any driver in the guest a program gets a signal at the address, or
# zeros where the lender has chosen that; what it then writes nobody else sees, and soon nobody at all.
. /usr/lib/xenlend-scenarios/common.sh
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
# A hole: for now.
tell unmap b 0 8K
touch_lent fault 32M
touch_lent fault 32M --write
tell remap b
touch_lent check 32M 64K 1
# Another process keeps the descriptor, so the regions outlive the memory.
holder=$(tell hold)
kill -9 "$lender"
wait_for_end "$lender"
for offset in 0 8 4096 65528; do
    touch_lent fault $(((32 << 20) + offset))
    touch_lent fault $(((32 << 20) + offset)) --write
done
touch_lent same 16M 64K 0
touch_lent poke 16M 77
touch_lent same $(((16 << 20) + 4096)) 60K 0
# The page of zeros is lent for a moment only, and what was written goes with it.
until touch_lent same 16M 64K 0; do :; done
kill "$holder"
wait_for_end "$holder"
