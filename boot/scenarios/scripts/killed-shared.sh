# SPDX-License-Identifier: MIT OR Apache-2.0
# killed-shared.sh ROUNDS: three unikernels write to pages that come and go, all lent by one broker, which is
# destroyed at some moment: each ends by a page fault there, so no vCPU waits for ever, and to Xen nothing is lent any
# more.
. /usr/lib/xenlend-scenarios/common.sh
. /usr/lib/xenlend-scenarios/several-guests.sh
console=/var/log/xen/console
base=0x10000000
for who in u1 u2 u3; do
    cat >$who.cfg <<END
name = "$who"
type = "pvh"
kernel = "/usr/libexec/xen/boot/xenlend-stubdom-faulty"
cmdline = "borrow=2 memmap=2M\$$base"
memory = 16
vcpus = 1
on_crash = "preserve"
END
done
# What one of them has said in this life.
said() { tail -c +$(($(cat "work/$1.console") + 1)) $console/guest-"$1".log; }
revoked() { to u2 status | sed -n 's/^revoked_pages=//p'; }
# When: after so many pages more have been taken away from the second.
awk -v rounds="$1" -v seed="$SEED" 'BEGIN { srand(seed); while (rounds--) print int(rand() * 120) }' >moments
round=0
while read -r moment <&4; do
    round=$((round + 1))
    for who in u1 u2 u3; do
        wc -c 2>/dev/null <$console/guest-$who.log >work/$who.console || echo 0 >work/$who.console
        # It has to find its pages lent.
        xl create -p $who.cfg
    done
    xenlend up u1
    xenlend up u2 --broker-of u1
    xenlend up u3 --broker-of u1
    cycles=
    for who in u1 u2 u3; do
        pids="$pids $(lender start "L$who")"
        to $who bind "$(xl domid $who)"
        to $who area o own 2
        to $who lend 0 o 0
        xl unpause $who
    done
    for who in u1 u2 u3; do
        until said $who | grep -q borrowing; do usleep 10000; done
    done
    to u2 status >work/u2.start
    start=$(sed -n 's/^revoked_pages=//p' work/u2.start)
    for who in u1 u2 u3; do
        # Meanwhile the lender's process takes no other commands.
        to $who cycle o revoke 1000000 >work/$who.cycle 2>&1 &
        cycles="$cycles $!"
    done
    while [ $(($(xenlend status --json u2 | sed -n 's/.*"revoked_pages": \([0-9]*\).*/\1/p') - start)) -lt "$moment" ]; do :; done
    xl destroy xenlend-u1
    for who in u1 u2 u3; do
        until xl list $who | grep -q 'sc-'; do usleep 10000; done
        # Its last words: an exception, or a page that held what it has not written.
        until said $who | grep -q 'exception\|holds'; do usleep 10000; done
        said $who | grep -q "exception 14 .* cr2 0x1000[01]0*" || fail "$who ended otherwise in round $round: $(said $who)"
    done
    end_all
    # They end with the link, or with their process.
    for cycle in $cycles; do
        if wait "$cycle" && grep -q rounds=1000000 work/*.cycle; then fail "a lender came to the end of its cycles"; fi
    done
    for who in u1 u2 u3; do
        domain=$(xl domid $who)
        xenlend down $who
        found=$(lend-probe $who "$domain" count)
        [ "$found" = "present=0 released=0" ] || fail "something is still lent to $who in round $round: $found"
        xl destroy $who
    done
    while xl list | grep -q -E "^u[123] |xenlend-u|null"; do usleep 50000; done
    echo "round $round: killed after $moment more"
done 4<moments
[ "$round" = "$1" ] || fail "only $round rounds"
if xl dmesg | grep -E "Assertion|Xen BUG|domain_crash"; then fail "Xen complains"; fi
