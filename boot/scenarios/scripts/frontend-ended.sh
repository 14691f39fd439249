# SPDX-License-Identifier: MIT OR Apache-2.0
# A program that keeps a mapping over the end of its lease gets SIGBUS, also when something else is lent
# at the same place at once.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area a memfd 64K
tell area b memfd 64K
tell fill b 0 64K 9
for round in 1 2 3 4 5; do
    tell lend 0 a 16M
    rm -f touching
    mkfifo touching
    guest-exec "$guest" xenlend-touch until-bus 16M >touching &
    toucher=$!
    exec 3<touching
    read -r word <&3
    [ "$word" = touching ] || fail "it said $word"
    tell unlend 0
    tell lend 0 b 16M
    read -r word <&3
    [ "$word" = SIGBUS ] || fail "it ended with $word"
    exec 3<&-
    wait $toucher
    touch_lent check 16M 64K 9
    tell unlend 0
done
no_complaint
