# SPDX-License-Identifier: MIT OR Apache-2.0
# killed-anywhere.sh ROUNDS: two vCPUs write to pages that come and go, and the broker is destroyed at some moment:
# both programs end by a fault at their address, so no vCPU waits for ever; to Xen nothing is lent any more.
. /usr/lib/xenlend-scenarios/common.sh
fresh_guest
revoked() { xenlend status --json | sed -n 's/.*"revoked_pages": \([0-9]*\).*/\1/p'; }
domain=$(xl domid "$guest")
# When: after so many pages more have been taken away.
awk -v rounds="$1" -v seed="$SEED" 'BEGIN { srand(seed); while (rounds--) print int(rand() * 120) }' >moments
round=0
while read -r moment <&4; do
    round=$((round + 1))
    begin
    tell area m own 2
    tell lend 0 m 16M
    for vcpu in 0 1; do
        mkfifo said.$vcpu
        touch_lent fault $(((16 << 20) + vcpu * 4096)) --until $vcpu >said.$vcpu &
        eval toucher$vcpu=$!
    done
    exec 5<said.0 6<said.1
    read -r word <&5
    [ "$word" = writing ] || fail "no writer: $word"
    read -r word <&6
    [ "$word" = writing ] || fail "no writer: $word"
    # Meanwhile the lender's process takes no other commands.
    tell cycle m revoke 1000000 >cycle.out 2>&1 &
    cycle=$!
    start=$(revoked)
    while [ $(($(revoked) - start)) -lt "$moment" ]; do :; done
    xl destroy $link
    wait "$toucher0" || fail "vCPU 0 saw no fault in round $round: $(cat <&5)"
    wait "$toucher1" || fail "vCPU 1 saw no fault in round $round: $(cat <&6)"
    exec 5<&- 6<&-
    rm said.0 said.1
    # It may wait for a page to be asked for.
    end
    # It ends with the link, or with its process.
    if wait $cycle && grep -q rounds=1000000 cycle.out; then fail "the lender came to the end of its cycles"; fi
    guest-exec "$guest" true
    xenlend down "$guest"
    found=$(lend-probe "$guest" "$domain" count)
    [ "$found" = "present=0 released=0" ] || fail "something is still lent in round $round: $found"
    echo "round $round: killed after $moment more"
    xenlend up "$guest"
done 4<moments
[ "$round" = "$1" ] || fail "only $round rounds"
# Another broker lends as ever.
begin
tell area m memfd 1M
tell lend 0 m 16M
tell fill m 0 1M 99
touch_lent check 16M 1M 99
if xl dmesg | grep -E "Assertion|Xen BUG|domain_crash"; then fail "Xen complains"; fi
status
