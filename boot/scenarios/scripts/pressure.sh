# SPDX-License-Identifier: MIT OR Apache-2.0
# dom0 runs out of memory again and again while buffers are lent and migrate; its victims have lent memory
# themselves: no deadlock, no stale access.
. /usr/lib/xenlend-scenarios/common.sh
dmesg -c >dmesg.before
begin
lend_control
lend_buffers
tell go c
touch_lent draw 16M 12 $control --nonce 0123456789abcdef >draw.out 2>draw.err &
drawer=$!
# Memory runs out sooner with this in it.
dd if=/dev/zero of=/dev/shm/ballast bs=1M count=400 2>/dev/null
touch busy
tell play d c --migrations 50 --while-exists "$PWD/busy" >play.out &
player=$!
place=128
for kill in 1 2 3; do
    victim=$(lender start H)
    echo 1000 >/proc/"$victim"/oom_score_adj
    lender tell H bind "$(xl domid $guest)"
    lender tell H area a anonymous 2G
    lender tell H fill a 0 2M 1
    when_free lender tell H lend 20 a ${place}M --bytes 2M
    touch_lent check ${place}M 2M 1
    # More than dom0 has: the kernel reclaims what it can, then kills it.
    if lender tell H prepare a 2>/dev/null; then
        fail "dom0 has more memory than was thought"
    fi
    kill -0 $player || fail "the moves ended before kill $kill"
    echo 2 >/proc/sys/vm/drop_caches
    # The victim's descriptor closes with it: its slot is free again.
    wait_for_end "$victim"
    # A driver that does not zap keeps the place until no program has anything mapped; the drawer has.
    [ "$DRIVER" != unzapped ] || place=$((place + 2))
done
rm busy /dev/shm/ballast
wait $player
wait $drawer || fail "the guest saw: $(cat draw.err)"
tell check-all d c >all.out
cat play.out draw.out all.out
for file in draw.out play.out all.out; do
    grep -q 'integrity_errors=0 stale_reads=0' $file || fail "$file: $(cat $file)"
done
[ "$(dmesg | grep -c 'Out of memory: Killed process')" -ge 3 ] || fail "nobody was killed"
if dmesg | grep -E 'blocked for more than|BUG: |WARNING: '; then
    fail "dom0's kernel complains"
fi
status
