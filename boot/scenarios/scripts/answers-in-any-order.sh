# SPDX-License-Identifier: MIT OR Apache-2.0
# Pages that the lender's process brings itself (userfaultfd), in an order of its own: whose
# page has come goes on, whoever else waits. When the process ends, whoever is left over ends too,
# and the link can be taken down.
. /usr/lib/xenlend-scenarios/frontend-common.sh
touches() { echo $(($(counter stage2_faults) + $(counter wants))); }
# Starts a toucher of a page, and returns when it waits: NAME PAGE.
start_toucher() {
    before=$(touches)
    guest-exec "$guest" sh -c "echo \$\$ >/tmp/toucher.$1; exec xenlend-touch check $(((16 << 20) + $2 * 4096)) 4K 5" \
        >"touched.$1" 2>&1 &
    eval "toucher_$1=$!"
    while [ "$(touches)" = "$before" ]; do usleep 50000; done
}
await_toucher() { eval "wait \$toucher_$1"; }
# Starts a process for each of some pages from the 64th on: COUNT. A guest whose vCPUs all stand
# still says nothing.
start_many() {
    rm -f many.fifo
    mkfifo many.fifo
    before=$(touches)
    pin=$(has_driver || echo --pin)
    guest-exec "$guest" xenlend-touch many $(((16 << 20) + (64 << 12))) "$1" 5 $pin >many.fifo &
    many=$!
    exec 4<many.fifo
    while [ "$(touches)" -lt $((before + $1)) ]; do usleep 50000; done
}
# Answers for a page.
answer() {
    tell fill s $(($1 * 4096)) 4K 5
    tell answer u $(($1 * 4096)) 4K s
}
# Answers for one of many, and returns when its process says so.
answer_one() {
    answer $((64 + $1))
    read -r line <&4
    [ "$line" != "touching=$count" ] || read -r line <&4
    [ "$line" = "page $1: came" ] || fail "answered page $1, and $line"
}
begin
tell area u unanswered 1M
tell area s memfd 1M
tell lend 0 u 16M
if has_driver; then
    start_toucher a 4
    start_toucher b 0
    answer 0
    await_toucher b || fail "it did not get its page: $(cat touched.b)"
    guest-exec "$guest" sh -c 'kill -9 $(cat /tmp/toucher.a)'
    if await_toucher a; then fail "it was not killed: $(cat touched.a)"; fi
    answer 4
    touch_lent check $(((16 << 20) + 4 * 4096)) 4K 5
    # A task for each page, in an order that the seed gives.
    count=16
    order=$(awk -v seed="$SEED" 'BEGIN { srand(seed); for (i = 0; i < 16; i++) print rand(), i }' | sort -n | cut -d ' ' -f 2)
else
    # Each stops a vCPU, the first page's the second one: the guest answers when the first one goes
    # on.
    count=2
    order="1 0"
fi
start_many $count
answered=0
for page in $order; do
    # Half of them are left open when the lender's process ends.
    [ $answered -lt $((count / 2)) ] || break
    answer_one "$page"
    answered=$((answered + 1))
done
end
ended=0
while read -r line <&4; do
    case $line in
    *": came") fail "nobody answered for it: $line" ;;
    esac
    ended=$((ended + 1))
done
[ $ended = $((count / 2)) ] || fail "$ended of $((count / 2)) ended"
wait $many
exec 4<&-
# Nothing is lent any more, and the link says so.
xenlend status --json | tee status.json
grep -q '"regions": *0' status.json || fail "it does not say why"
! has_driver || no_complaint
xenlend down "$guest"
dmesg >lender.dmesg
if grep -E 'BUG:|WARNING: (CPU|possible)|Oops|blocked for more than|soft lockup' lender.dmesg; then
    fail "the lender's kernel complained"
fi
xenlend up "$guest"
begin
tell area m memfd 64K
tell fill m 0 64K 3
tell lend 0 m 16M
touch_lent check 16M 64K 3
