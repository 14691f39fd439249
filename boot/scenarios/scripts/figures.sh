# SPDX-License-Identifier: MIT OR Apache-2.0
# What lending costs, as `name=value` lines; with a Xen that counts (`cargo xtask figures`). Counts are of the
# whole machine, in which nothing else makes these hypercalls.
. /usr/lib/xenlend-scenarios/common.sh
begin
xenperf -f >/dev/null || fail "this Xen does not count"

# Runs a command and says what it cost: NAME COMMAND…
cost() {
    name=$1
    shift
    xenperf -r
    "$@" >>work.log
    xenperf -f >perf
    line=$(sed -n 's/^hypercalls  *T= *[0-9]*//p' perf)
    flushes=$(sed -n 's/^guest tlb flushes  *T= *\([0-9]*\).*/\1/p' perf)
    set -- $line
    # memory_op, event_channel_op, domctl, dm_op: 12, 32, 36 and 41 of xen.h.
    echo "${name}_memory_ops=${13} ${name}_event_ops=${33} ${name}_domctls=${37} ${name}_dm_ops=${42} ${name}_flushes=$flushes"
}

# Entries since before: NAME
made() {
    echo "$1_entries_4kib=$(($(counter adds_4kib) - small)) $1_entries_2mib=$(($(counter adds_2mib) - large))"
    before
}
before() { small=$(counter adds_4kib) large=$(counter adds_2mib); }
before

# 16 MiB page by page in 64 MiB: the driver's spare frames lie between those in use, so no two are neighbours.
tell area s own 4096
tell fill s 0 16M 1
tell lend 0 s 64M
cost lend_apart touch_lent read 64M 16M
made lend_apart
cost again_apart touch_lent read 64M 16M
cost revoke_apart tell revoke s 0 16M
tell unlend 0

# 8 MiB of neighbours, a page off the borders of 2 MiB, 96 MiB in.
tell area n own 2048 --contiguous
tell fill n 0 8M 1
tell lend 1 n $(((96 << 20) + 4096))
before
cost lend_beside touch_lent read $(((96 << 20) + 4096)) 8M
made lend_beside
cost revoke_beside tell revoke n 0 8M
tell unlend 1

# 4 MiB in two entries, where no entry of 4 KiB ever was.
tell area o own 1024 --contiguous
tell fill o 0 4M 1
tell lend 1 o 16M
before
cost lend_large touch_lent read 16M 4M
made lend_large
cost revoke_large tell revoke o 0 4M
tell unlend 1

# One page 1,000 times: each touch one fault, in a guest that does nothing else, then in one that works on the page.
tell area p memfd 4K
tell lend 2 p 128M
cost faults tell drive --timed "$guest" xenlend-touch latency 128M 'revoke p 0 4K'
tail -n 3 work.log | sed -n 's/asked_/idle_/g;/times=/p'
# The same talk between guest and dom0, and the page stays.
cost talk tell drive --timed "$guest" xenlend-touch latency 128M events
tell drive --timed "$guest" xenlend-touch latency 128M 'revoke p 0 4K' --busy | sed 's/asked_/busy_/g'

mkfifo port
lender echo "$(xl domid "$guest")" 1000 >port &
echo=$!
read -r port <port
touch_lent ping "$port"
wait $echo
echo "kind=$(lend_aware && echo lend || echo stock)"
