# SPDX-License-Identifier: MIT OR Apache-2.0
# held-up.sh: a process lends memory that nobody can look into: a file whose daemon answers no
# write, then a mapping whose lock is never given back, then memory that is invalidated without end.
# Whatever another process lends to the same guest goes on, and so do its calls.
. /usr/lib/xenlend-scenarios/frontend-common.sh
other() { lender tell O "$@"; }
# All of the other process's doing: pages that come and go, a region that ends and a new one.
goes_on() {
    for round in 1 2 3; do
        other fill m 0 64K $round
        ! has_driver || touch_lent check 48M 64K $round
        other revoke m 0 64K
    done
    other unlend 2
    when_free other lend 2 m 48M
}
# Not where the results are gathered.
cd "$(mktemp -d)"
begin
owner=$(lender start O)
other bind "$(xl domid "$guest")"
: >held-file
mkfifo held.fifo
lender held-file held-file 64K <held.fifo >held.out &
server=$!
again=
# The process ends when nothing of its is held any more.
end_all() {
    kill -9 $server $again
    end
}
trap end_all EXIT
exec 5>held.fifo
until grep -q mounted held.out; do usleep 50000; done
# The kernel asks for its size when somebody wants to know it.
[ "$(stat -c %s held-file)" = 65536 ]
tell area f file held-file 64K
tell fill f 0 64K 5
tell fill f 60K 4K 5
tell lend 0 f 16M
other area u unanswered 4K
other area s memfd 4K
other fill s 0 4K 5
other lend 1 u $(((16 << 20) + (64 << 10)))
other area m memfd 64K
other lend 2 m 48M
# Its pages are on their way to the daemon: to write into them again is to wait for its answer.
tell disturb f sync
until grep -q held held.out; do usleep 50000; done
# So does a thread of its own, and another waits for that with the lock on all that the process has
# mapped.
stuck_threads() { cat /proc/"$lender"/task/*/status | grep -c '^State:.D'; }
stuck=$(stuck_threads)
tell disturb f write
until [ "$(stuck_threads)" = $((stuck + 1)) ]; do usleep 50000; done
tell disturb f protect
until [ "$(stuck_threads)" = $((stuck + 2)) ]; do usleep 50000; done
# Each stops a task of the guest, or a vCPU: one at the file's last page, one at the other
# process's.
mkfifo two.fifo
pin=--pin
! has_driver || pin=
guest-exec "$guest" xenlend-touch many $(((16 << 20) + (60 << 10))) 2 5 $pin >two.fifo &
two=$!
exec 4<two.fifo
while [ "$(($(grown stage2_faults) + $(grown wants)))" -lt 2 ]; do usleep 50000; done
before=$(counter page_ins)
other answer u 0 4K s
if has_driver; then
    read -r line <&4
    [ "$line" = touching=2 ] || fail "$line"
    read -r line <&4
    [ "$line" = "page 1: came" ] || fail "$line"
else
    # The guest's programs may be queued behind the vCPU that stands still: the lender is asked.
    while [ "$(counter page_ins)" = "$before" ]; do usleep 50000; done
fi
goes_on
grep -q answered held.out && fail "the daemon has answered"
echo >&5
while read -r line <&4; do
    case $line in
    *": came" | touching=2) ;;
    *) fail "$line" ;;
    esac
done
wait $two
exec 4<&-
tell unlend 0
# Memory that two threads never stop to drop.
tell area a anonymous 2M
tell lend 4 a 64M
tell disturb a drop
tell disturb a drop
guest-exec "$guest" xenlend-touch peek 64M 8 >peeked &
peeker=$!
goes_on
wait $peeker
tell unlend 4
goes_on
# A fault that waits itself, until its region ends.
: >held-again
mkfifo again.fifo
lender held-file held-again 4K <again.fifo >again.out &
again=$!
exec 6>again.fifo
until grep -q mounted again.out; do usleep 50000; done
[ "$(stat -c %s held-again)" = 4096 ]
tell area g file held-again 4K
tell poke g 0 1
tell lend 3 g 96M
tell disturb g sync
until grep -q held again.out; do usleep 50000; done
before=$(($(grown stage2_faults) + $(grown wants)))
guest-exec "$guest" xenlend-touch peek 96M 1 >peeked &
peeker=$!
while [ "$(($(grown stage2_faults) + $(grown wants)))" = "$before" ]; do usleep 50000; done
goes_on
tell unlend 3
ended=0
wait $peeker || ended=$?
# Of what is not lent it reads ones, or gets a signal.
if has_driver || lend_aware; then
    [ "$ended" != 0 ] || fail "there was nothing to read: $(cat peeked)"
else
    [ "$ended" = 0 ]
fi
goes_on
kill -9 "$owner"
wait_for_end "$owner"
end_all
umount held-file held-again
dmesg >lender.dmesg
if grep -E 'BUG:|WARNING: (CPU|possible)|Oops|soft lockup' lender.dmesg; then
    fail "the lender's kernel complained"
fi
