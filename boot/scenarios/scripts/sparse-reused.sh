# SPDX-License-Identifier: MIT OR Apache-2.0
# sparse-reused.sh ROUNDS: regions are deleted and their places lent anew while programs still have them mapped
# and touch them as fast as they can: each ends with SIGBUS, none sees what is lent there next.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area a memfd 4G
tell area b memfd 4G
# Lends two parts of an area: the same places for all areas, in slots of the other order each time.
lend_parts() {
    until tell lend "$2" "$1" 0 --bytes 1G 2>lend.err; do grep -q -i busy lend.err || fail "$(cat lend.err)"; done
    until tell lend "$3" "$1" 3G --start 3G --bytes 1G 2>lend.err; do
        grep -q -i busy lend.err || fail "$(cat lend.err)"
    done
}
# A program that touches a page until it is gone.
start_toucher() {
    rm -f touching."$1"
    mkfifo touching."$1"
    guest-exec "$guest" xenlend-touch until-bus "$2" --marks "$3" >touching."$1" &
}
await_word() {
    read -r word <&"$1"
    [ "$word" = "$2" ] || fail "it said $word and not $2"
}
tell fill-spread a 1024 1024 5
tell fill-spread b 1024 1024 9
for round in $(seq "$1"); do
    lend_parts a 0 1
    touch_lent spread 0 1G 256 1024 5
    start_toucher near 0 5
    near=$!
    exec 3<touching.near
    await_word 3 touching
    start_toucher far 3G 5
    far=$!
    exec 4<touching.far
    await_word 4 touching
    tell unlend 0
    tell unlend 1
    lend_parts b 1 0
    await_word 3 SIGBUS
    await_word 4 SIGBUS
    exec 3<&- 4<&-
    wait $near
    wait $far
    touch_lent spread 0 1G 256 1024 9
    tell unlend 0
    tell unlend 1
    # A hole in the middle of what is mapped by nobody any more does nothing.
    tell punch a 1G 1G
done
[ "$(counter forced_revocations)" = 0 ] || fail "the broker was taken for dead: $(status)"
no_complaint
