# SPDX-License-Identifier: MIT OR Apache-2.0
# process-end.sh HOW: the lender's memory goes away: everything is revoked, the guest sees zeros, nothing
# stays behind. What the guest writes there reaches nobody: stock Xen's broker drops it; on lend-aware Xen the
# guest has a page of zeros of its own, for a moment.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 1M
tell lend 0 m 16M
tell fill m 0 1M 1
touch_lent check 16M 1M 1
zeros() {
    touch_lent same 16M 2K 0
    touch_lent poke 16M 77
    if lend_aware; then
        # That page goes again, also where nothing can come any more, and the next one is another.
        until touch_lent same 16M 2K 0; do usleep 10000; done
    else
        touch_lent same 16M 2K 0
    fi
}
case $1 in
unmap)
    tell unmap m 0 1M
    zeros
    tell remap m
    touch_lent check 16M 1M 1
    ;;
move)
    tell move-away m
    zeros
    tell remap m
    touch_lent check 16M 1M 1
    ;;
exit | kill)
    # Another process keeps the descriptor, so the regions outlive the memory.
    holder=$(tell hold)
    if [ "$1" = exit ]; then tell exit; else kill -9 "$lender"; fi
    wait_for_end "$lender"
    zeros
    xenlend status --json >status.json
    kill "$holder"
    wait_for_end "$holder"
    ;;
close)
    tell close
    # No region is left: there is nothing to be lent or lost.
    nothing_lent 16M
    tell check m 0 1M 1
    ;;
esac
end
# The link goes on: another process can lend at the same place.
begin
tell area m memfd 64K
tell lend 0 m 16M
tell fill m 0 64K 9
touch_lent check 16M 64K 9
tell unlend 0
[ "$(counter present_pages)" = 0 ] || fail "pages stayed present: $(status)"
[ "$(counter lent_bytes)" = 0 ] || fail "bytes stayed lent: $(status)"
