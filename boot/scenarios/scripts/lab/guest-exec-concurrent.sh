# SPDX-License-Identifier: MIT OR Apache-2.0
# Several commands in one guest and in two at once; one guest stands still for a while.
for number in 1 2 3 4 5 6; do
    for guest in g1 g2; do
        guest-exec $guest sh -c "seq 1 20000; exit $number" >$guest-$number.out &
        echo $! >$guest-$number.pid
    done
done
seq 1 20000 >wanted
for number in 1 2 3 4 5 6; do
    for guest in g1 g2; do
        status=0
        wait "$(cat $guest-$number.pid)" || status=$?
        [ $status = $number ]
        cmp wanted $guest-$number.out
    done
done

xl pause g1
guest-exec g1 echo awake >late &
late=$!
[ "$(guest-exec g2 echo beside)" = beside ]
# Longer than guest-exec waits before it looks whether the guest is still there.
sleep 3
[ ! -s late ]
xl unpause g1
wait $late
[ "$(cat late)" = awake ]
