# SPDX-License-Identifier: MIT OR Apache-2.0
# One broker, three borrowers, the frames of all moving: nobody sees another's. A guest ends in the middle of the
# work, one leaves, both come back, and the others do not notice.
. /usr/lib/xenlend-scenarios/common.sh
. /usr/lib/xenlend-scenarios/several-guests.sh
run=shared
for who in g1 g2 g3; do await_boot $who; done
xenlend up g1
xenlend up g2 --broker-of g1
# By way of one that has joined itself.
xenlend up g3 --broker-of g2
broker=$(xl domid xenlend-g1)
served() { xenlend status --json | grep -A 1 '"broker": {' | grep -c "\"domid\": $broker,"; }
[ "$(served)" = 3 ] || fail "domain $broker does not serve three: $(xenlend status)"
[ "$(xl list | grep -c xenlend-)" = 1 ] || fail "more brokers than one: $(xl list)"
refused "cannot join its own" xenlend up g1 --broker-of g1
refused "is up already" xenlend up g2 --broker-of g1

lend_to g1 g2 g3
for phase in 1 2 3; do work $phase g1 g2 g3; done

# One ends while all three work: of a domain that somebody still holds a page of, a zombie stays.
work_on() { while :; do work_of "$1"; done; }
gone=$(xl domid g3)
work_on g3 >work/g3.end 2>&1 &
third=$!
work end g1 g2
xl destroy g3
work ended g1 g2
if wait $third; then fail "g3's work went on without it"; fi
to g3 verify o
guest=g3
link=none
await_nothing_left
grep -q "leaving domain $gone" /var/log/xen/console/guest-xenlend-g1.log || fail "the broker has not left g3"
[ "$(served)" = 2 ] || fail "domain $broker does not serve two: $(xenlend status)"

# Another takes its place. First it wants more of the broker's memory than there is for one of several.
sed 's/memmap=256M/memmap=4G/' /etc/xen/g3.cfg >g3.cfg
grep -q memmap=4G g3.cfg || fail "it reserves something else: $(cat g3.cfg)"
echo "shadow_memory = 24" >>g3.cfg
xl create g3.cfg
await_boot g3
refused "more than half" xenlend up g3 --broker-of g1 --max-aperture 4G
if xenlend status --json g3 >/dev/null 2>&1; then fail "something is left of it: $(xenlend status)"; fi
# More than the broker has places, each of another size: what one has left is there for the next.
for size in 2 4 6 8 10 12 14 16 18 20; do
    xenlend up g3 --broker-of g1 --aperture 0x1000000000:${size}M
    xenlend down g3
done
[ "$(xl domid xenlend-g1)" = "$broker" ] || fail "the broker ended: $(tail -n 5 /var/log/xen/console/guest-xenlend-g1.log)"
xenlend up g3 --broker-of g1 --aperture 0x1000000000:256M
to g3 exit
lend_to g3
work again g1 g2 g3

# The first one leaves, and the broker stays for the others.
xenlend down g1
to g1 verify o
guest-exec g1 xenlend-touch fault 16M || fail "something is lent to g1"
work left g2 g3
[ "$(xl domid xenlend-g1)" = "$broker" ] || fail "the broker went with its first borrower"
refused "serves g2, g3" xenlend up g1
xenlend up g1 --broker-of g3
to g1 exit
lend_to g1
work back g1 g2 g3

# The next domain of a guest that is to be up again joins whoever its broker still serves; the one that was named is
# down.
xenlend down g2
xenlend up g2 --broker-of g1 --again
xenlend down g1
gone=$(xl domid g2)
xl destroy g2
while xl list "$gone" >/dev/null 2>&1; do usleep 100000; done
xl create /etc/xen/g2.cfg
await_boot g2
until xenlend status --json g2 2>/dev/null | grep -q '"connected"'; do usleep 200000; done
[ "$(served)" = 2 ] || fail "domain $broker does not serve two: $(xenlend status)"
xenlend up g1 --broker-of g2
for who in g1 g2; do to $who exit; done
lend_to g1 g2
work up-again g1 g2 g3

# The last one takes it along.
end_all
for who in g2 g3 g1; do
    xl domid xenlend-g1
    xenlend down $who
done
while xl list | grep -q -E "xenlend-g1|null"; do usleep 100000; done
for who in g1 g2 g3; do
    found=$(lend-probe $who "$(xl domid $who)" count)
    [ "$found" = "present=0 released=0" ] || fail "something is still lent to $who: $found"
done
if xl dmesg | grep -E "Assertion|Xen BUG|domain_crash"; then fail "Xen complains"; fi
