# SPDX-License-Identifier: MIT OR Apache-2.0
# The driver with its zaps and prefaults switched off: programs keep their entries when pages are taken away, the
# second stage stops each touch, and both sides still see each other's writes. The pages of a lease that has
# ended are lent to nobody while a program has it mapped.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area m memfd 64K
tell area n memfd 64K
tell fill m 0 64K 1
tell fill n 0 64K 9
tell lend 0 m 16M
prefaults=$(driver_counter messages_sent)
if touch_lent prefault 16M 64K; then fail "it brought something in"; fi
[ "$(driver_counter messages_sent)" = "$prefaults" ] || fail "it asked for pages"
rm -f touching
mkfifo touching
guest-exec "$guest" sh -c 'echo $$ >/tmp/toucher; exec xenlend-touch until-bus 16M' >touching &
toucher=$!
exec 3<touching
read -r word <&3
[ "$word" = touching ] || fail "it said $word"
# It has its entries, and touches on.
stops=$(counter stage2_faults)
for round in 2 3 4 5; do
    tell punch m 0 64K
    tell fill m 0 64K $round
    touch_lent check 16M 64K $round
    while [ "$(counter stage2_faults)" = "$stops" ]; do usleep 50000; done
    stops=$(counter stage2_faults)
done
tell unlend 0
refused busy lender tell L lend 0 n 16M
touch_lent driver
refused busy lender tell L lend 0 n 16M
# The program does not notice: what is not lent reads as ones. Its end is the mapping's.
guest-exec "$guest" sh -c 'kill -9 $(cat /tmp/toucher)'
exec 3<&-
if wait $toucher; then fail "it ended by itself"; fi
tell lend 0 n 16M
touch_lent check 16M 64K 9
no_complaint
