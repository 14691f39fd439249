# SPDX-License-Identifier: MIT OR Apache-2.0
# A lender process that never answers for its pages (userfaultfd). Whoever touches one waits and can be killed;
# the guest's other windows, another guest, and the lender's other calls go on. When an answer comes after
# all, so does the page; when the window goes instead, its waiters do not stay.
. /usr/lib/xenlend-scenarios/frontend-common.sh
# Starts a toucher of the page at an offset in the guest, and returns when it sleeps: NAME OFFSET.
start_sleeper() {
    waits=$(driver_counter waits)
    guest-exec "$guest" sh -c "echo \$\$ >/tmp/sleeper.$1; exec xenlend-touch check $2 4K 5" >"slept.$1" 2>&1 &
    eval "sleeper_$1=$!"
    while [ "$(driver_counter waits)" = "$waits" ]; do usleep 50000; done
}
await_sleeper() { eval "wait \$sleeper_$1"; }
begin
tell area u unanswered 64K
tell area m memfd 64K
tell fill m 0 64K 3
tell lend 0 u 16M
tell lend 1 m 32M
# More than the broker asks the lender for at once.
for page in 0 1 2 3 4 5 6 7 8 9; do
    start_sleeper $page $((16 * 1048576 + page * 4096))
done
touch_lent check 32M 64K 3
# The end of a lease is confirmed past all those who wait, and its place used again.
tell unlend 1
tell area n memfd 64K
tell fill n 0 64K 4
until tell lend 1 n 32M 2>lend.err; do
    grep -q -i busy lend.err || fail "$(cat lend.err)"
done
touch_lent check 32M 64K 4
# Another guest is not held up at all.
guest=g2
other=$(lender start M)
lender tell M bind "$(xl domid g2)"
lender tell M area m memfd 64K
lender tell M lend 0 m 16M
for round in 1 2 3 4 5; do
    lender tell M fill m 0 64K $round
    touch_lent check 16M 64K $round
    lender tell M revoke m 0 64K
done
guest=g1
guest-exec "$guest" sh -c 'kill -9 $(cat /tmp/sleeper.0)'
if await_sleeper 0; then fail "it was not killed: $(cat slept.0)"; fi
for page in 1 2 3 4 5 6 7 8 9; do
    eval "kill -0 \$sleeper_$page" || fail "it did not wait: $(cat slept.$page)"
done
[ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
# An answer after all.
tell area s memfd 64K
for page in 1 2 3 4 5 6 7 8 9; do tell fill s $((page * 4096)) 4K 5; done
tell answer u 0 64K s
for page in 1 2 3 4 5 6 7 8 9; do
    await_sleeper $page || fail "it did not get its page: $(cat slept.$page)"
done
[ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
# No answer, but the end of the window, and then of the process.
tell area v unanswered 64K
tell lend 2 v 48M
start_sleeper a 48M
tell unlend 2
if await_sleeper a; then fail "there was nothing to see: $(cat slept.a)"; fi
tell area w unanswered 64K
tell lend 3 w 64M
start_sleeper b 64M
end
if await_sleeper b; then fail "there was nothing to see: $(cat slept.b)"; fi
# Without a driver a vCPU stands still for such a page, and goes on with it, or with its window's end.
guest-exec g2 rmmod xenlend_front
accesses() { lender tell M status | sed -n 's/^stage2_faults=//p'; }
start_access() {
    before=$(accesses)
    guest-exec g2 xenlend-touch check 48M 4K 5 >accessed 2>&1 &
    accessor=$!
    while [ "$(accesses)" = "$before" ]; do usleep 50000; done
}
lender tell M area s memfd 4K
lender tell M fill s 0 4K 5
lender tell M area u unanswered 4K
lender tell M lend 1 u 48M
start_access
lender tell M answer u 0 4K s
wait $accessor || fail "the access did not get its page: $(cat accessed)"
lender tell M unlend 1
lender tell M area v unanswered 4K
lender tell M lend 1 v 48M
start_access
lender tell M unlend 1
if wait $accessor; then fail "there was nothing to see: $(cat accessed)"; fi
kill -9 "$other"
wait_for_end "$other"
no_complaint
dmesg >lender.dmesg
if grep -E 'BUG:|WARNING: (CPU|possible)|Oops|blocked for more than|soft lockup' lender.dmesg; then
    fail "the lender's kernel complained"
fi
