# SPDX-License-Identifier: MIT OR Apache-2.0
# Four guests, four brokers, the frames of all moving. g4 does its worst in five ways, g2 is destroyed, g3's broker
# is destroyed: the others' work comes to the same counts as without, and an `Invalidate` of theirs waits for
# no more turns, hypercalls and messages.
. /usr/lib/xenlend-scenarios/common.sh
. /usr/lib/xenlend-scenarios/several-guests.sh
console=/var/log/xen/console

# What one guest's work has come to, for comparison.
account() {
    to "$1" status >"work/$1.now"
    for name in invalidations revoked_pages forced_revocations; do
        now=$(sed -n "s/^$name=//p" "work/$1.now")
        echo "$name=$((now - $(sed -n "s/^$name=//p" "work/$1.before")))"
    done >>"work/$1.$run"
}

# Takes brokers away and keeps what their last words say about revocations.
part() {
    for who in "$@"; do
        # No such line yet is status 1, no log is 2.
        lines=$(grep -c revocations: $console/guest-xenlend-"$who".log) || [ $? = 1 ]
        xenlend down "$who"
        until [ "$(grep -c revocations: $console/guest-xenlend-"$who".log)" -gt "$lines" ]; do usleep 100000; done
        grep revocations: $console/guest-xenlend-"$who".log | tail -n 1 | tr -d '\r' >"work/$who.$run.cost"
        echo "$who $run: $(cat "work/$who.$run.cost")"
    done
}

# Has g4 misbehave in one way while the others work, and looks that it did.
misbehave() {
    work "$1" g1 g2 g3 &
    working=$!
    # Xen may end a guest in the middle of this, and one that it has ended has done something.
    in_guest g4 insmod /lib/modules/extra/hostile.ko way="$1" || [ "$1" = aperture ] || fail "$1 cannot begin"
    until [ "$(deeds || echo 1)" -gt 0 ]; do usleep 100000; done
    # Its broker may have had enough of it soon, but not before the others' work. A guest that Xen has ended says
    # nothing for a while.
    [ "$1" = aperture ] || grep -q '^State:.*[^Z] (' /proc/$working/status ||
        fail "$1 began after the others' work"
    wait $working || exit 1
    if ! after=$(deeds); then
        # Xen ends a guest over whose own pages something is to be lent.
        [ "$1" = aperture ] || fail "$1 has ended g4"
        echo "$1: g4 is no more"
        return
    fi
    echo "$1: $after deeds over $(in_guest g4 cat /sys/module/hostile/parameters/links) links"
}
deeds() { in_guest g4 cat /sys/module/hostile/parameters/deeds; }

# The same work without and with.
run=quiet
lend_to g1 g2 g3 g4
in_guest g4 rmmod xenlend_front
for phase in 1 2 3 4 5; do work $phase g1 g2 g3; done
work 6 g1
for who in g1 g2 g3; do account $who; done
end_all
part g1 g2 g3 g4
for who in g1 g2 g3 g4; do xenlend up $who; done

run=hostile
lend_to g1 g2 g3 g4
for way in garbage backwards flood changing; do
    misbehave $way
    # Its own pages come and go all the same: nothing that it says holds a revocation up.
    for round in 1 2 3 4; do
        in_guest g4 xenlend-touch --dev-mem read 16M 128K >/dev/null
        to g4 revoke o 0 128K
    done
    in_guest g4 rmmod hostile
done
to g4 status >g4.status
grep -q '^forced_revocations=0' g4.status || fail "its own broker did not keep up: $(cat g4.status)"
to g4 verify o
to g4 exit
part g4
xenlend up g4
lend_to g4
in_guest g4 xenlend-touch --dev-mem read 16M 128K >/dev/null
misbehave aperture
in_guest g4 dmesg | grep hostile: || echo "g4 has nothing to say of it, or is no more"
# Xen may have ended it by now. Its lender gets its frames back in any case.
in_guest g4 xenlend-touch --dev-mem read 16M 128K >/dev/null || echo "g4 does not answer any more"
to g4 revoke o 0 128K
to g4 verify o
for who in g2 g3; do account $who; done
xl list

# One guest and one broker end in the middle of their work.
work_on() { while :; do work_of "$1"; done; }
work_on g2 >work/g2.end 2>&1 &
second=$!
work_on g3 >work/g3.end 2>&1 &
third=$!
until [ "$(to g3 status | sed -n 's/^invalidations=//p')" -gt "$(sed -n 's/^invalidations=//p' work/g3.now)" ]; do usleep 20000; done
xl destroy g2
xl destroy xenlend-g3
work end g1
to g3 revoke o 0 128K
to g3 verify o
xl destroy g3
# Their work ends, and with an error, since their guests are gone.
if wait $third; then fail "g3's work went on without it"; fi
if wait $second; then fail "g2's work went on without it"; fi
account g1
to g2 verify o
end_all
part g1
for guest in g2 g3; do
    link=xenlend-$guest
    await_nothing_left
done

for who in g1 g2 g3; do
    cat work/$who.hostile
    cmp work/$who.quiet work/$who.hostile || fail "$who did other work: $(cat work/$who.quiet)"
done

# acknowledgements; in all: turns, calls, messages; at most: turns, calls, messages.
numbers() { tr -c '0-9\n' ' ' <"$1"; }
# What its own guest says, and when, differs from run to run: one message and one call for each revocation, and
# so many where several of them fall into one.
chance=4
read -r acks turns calls messages most_turns most_calls most_messages <<END
$(numbers work/g1.quiet.cost)
END
echo "$(numbers work/g1.hostile.cost)" | {
    read -r acks_2 turns_2 calls_2 messages_2 most_turns_2 most_calls_2 most_messages_2
    [ "$acks_2" = "$acks" ] || fail "$acks_2 acknowledgements, not $acks"
    [ "$turns_2 $most_turns_2" = "$turns $most_turns" ] || fail "an Invalidate waits for more turns"
    [ "$calls_2" -le $((calls + acks)) ] || fail "an Invalidate waits for more calls"
    [ "$messages_2" -le $((messages + acks)) ] || fail "an Invalidate waits for more messages"
    [ "$most_calls_2" -le $((most_calls + chance)) ] || fail "an Invalidate waits for more calls"
    [ "$most_messages_2" -le $((most_messages + chance)) ] || fail "an Invalidate waits for more messages"
}
# The attacker's own broker: one turn's work, whatever is thrown at it.
echo "$(numbers work/g4.hostile.cost)" | {
    read -r acks turns calls messages most_turns most_calls most_messages
    [ "$acks" -ge 16 ] || fail "its pages were revoked $acks times"
    [ "$most_turns" -le 1 ] || fail "its own Invalidate waited for $most_turns turns"
    [ "$most_messages" -le 36 ] || fail "its own Invalidate waited for $most_messages messages"
}
