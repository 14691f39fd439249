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

# Entries that were made since before: NAME
entries() {
    echo "$1_entries_4kib=$(($(counter adds_4kib) - small)) $1_entries_2mib=$(($(counter adds_2mib) - large))"
    small=$(counter adds_4kib) large=$(counter adds_2mib)
}
small=$(counter adds_4kib) large=$(counter adds_2mib)

# 16 MiB page by page, 64 MiB in. Frames of a driver that are not neighbours would be as good.
tell area m memfd 16M
tell fill m 0 16M 1
tell lend 0 m 64M
cost lend_small touch_lent read 64M 16M
entries lend_small
cost again_small touch_lent read 64M 16M
invalidations=$(counter invalidations)
cost revoke_small tell revoke m 0 16M
echo "revoke_small_invalidations=$(($(counter invalidations) - invalidations))"
tell unlend 0

# 4 MiB in two entries, where no entry of 4 KiB ever was.
tell area o own 1024 --contiguous
tell fill o 0 4M 1
tell lend 1 o 16M
cost lend_large touch_lent read 16M 4M
entries lend_large
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
