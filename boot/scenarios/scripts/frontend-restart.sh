# SPDX-License-Identifier: MIT OR Apache-2.0
# The broker is taken away and another attached: programs are told, mappings end, and the driver connects
# anew. It is not unloaded while it is in use, and connects again after it was.
. /usr/lib/xenlend-scenarios/frontend-common.sh
driver=/lib/modules/extra/xenlend-front.ko
for round in 1 2; do
    begin
    tell area m memfd 64K
    tell fill m 0 64K $round
    tell lend 0 m 16M
    touch_lent check 16M 64K $round
    rm -f events touching
    mkfifo events touching
    guest-exec "$guest" xenlend-touch events Closing >events &
    listener=$!
    guest-exec "$guest" xenlend-touch until-bus 16M >touching &
    toucher=$!
    exec 3<events 4<touching
    read -r word <&3
    [ "$word" = listening ] || fail "it said $word"
    read -r word <&4
    [ "$word" = touching ] || fail "it said $word"
    refused 'unload' guest-exec "$guest" rmmod xenlend_front
    end
    xenlend down "$guest"
    cat <&3 | tee told
    grep -q Closing told || fail "nobody was told"
    cat <&4 | grep -q SIGBUS || fail "the mapping did not end"
    exec 3<&- 4<&-
    wait $listener
    wait $toucher
    xenlend up "$guest"
done
begin
tell area m memfd 64K
tell fill m 0 64K 7
tell lend 0 m 16M
touch_lent check 16M 64K 7
guest-exec "$guest" rmmod xenlend_front
# Without the driver the guest is as it was before there was one.
touch_lent check 16M 64K 7
guest-exec "$guest" insmod $driver
touch_lent check 16M 64K 7
[ "$(driver_counter links)" = 1 ] || fail "it did not connect anew"
no_complaint
