# SPDX-License-Identifier: MIT OR Apache-2.0
# dom0 suspends, as far as the kernel's test of its devices goes, with leases of a driver that moves
# its buffers, of a memfd, and of a process that never answers for a page. Nothing is lent
# meanwhile, nobody who waits keeps dom0 awake, and afterwards everything is as it was.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell allow-bar "$(xl domid $guest)" "$(pci_of bochs-drm)" 0
tell area d dumb bochs-drm 6 --display
tell area m memfd 64K
tell area u unanswered 4K
tell lend 0 d 16M --bytes 4M
tell lend 1 m 32M
tell lend 2 u 48M
tell show d 0
generation=0
exchange() {
    generation=$((generation + 1))
    tell fill d 0 4M $generation
    tell fill m 0 64K $generation
    touch_lent check 16M 4M $generation
    touch_lent check 32M 64K $generation
    generation=$((generation + 1))
    touch_lent fill 16M 4M $generation
    touch_lent fill 32M 64K $generation
}
seen() {
    tell check d 0 4M $generation
    tell check m 0 64K $generation
    touch_lent check 16M 4M $generation
    touch_lent check 32M 64K $generation
}
waits=$(driver_counter waits)
touch_lent check 48M 4K 5 >slept 2>&1 &
sleeper=$!
while [ "$(driver_counter waits)" = "$waits" ]; do usleep 50000; done
echo 1 >/sys/module/suspend/parameters/pm_test_delay
echo devices >/sys/power/pm_test
for state in $(cat /sys/power/state); do
    [ "$state" != disk ] || continue
    exchange
    [ "$(counter present_pages)" -ge 1040 ] || fail "not everything is present: $(status)"
    echo "$state" >/sys/power/state || {
        dmesg | tail -n 30
        fail "dom0 does not suspend: $state"
    }
    # Nobody has touched anything since, and nothing comes back by itself.
    [ "$(counter present_pages)" = 0 ] || fail "pages stayed lent while dom0 slept: $(status)"
    seen
    # Its buffers move as they did: out of the card's memory, and back.
    for buffer in 1 2 3 4 5; do tell show d $buffer; done
    seen
    tell show d 0
    seen
done
kill -0 $sleeper || fail "it did not wait: $(cat slept)"
tell area s memfd 4K
tell fill s 0 4K 5
tell answer u 0 4K s
wait $sleeper || fail "it did not get its page: $(cat slept)"
[ "$(grown migrations_to_vram)" -ge 1 ] || fail "no migration to VRAM: $(status)"
[ "$(grown dom0_mapping_hypercalls)" = 0 ] || fail "dom0 mapped by itself"
status
no_complaint
dmesg >lender.dmesg
if grep -E 'BUG:|WARNING: (CPU|possible)|Oops|blocked for more than|soft lockup' lender.dmesg; then
    fail "the lender's kernel complained"
fi
