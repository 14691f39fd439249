# SPDX-License-Identifier: MIT OR Apache-2.0
# race-baseline.sh SECONDS: how often the emulated machine itself kills a guest of two vCPUs on two processors
# that is busy with requests to its broker and is paused now and then, while nothing is lent: no page is
# ever added or removed. It judges nothing; it is what the triple faults of race.sh are to be compared with.
. /usr/lib/xenlend-scenarios/common.sh
uptime() { sed 's/\..*//' /proc/uptime; }
end=$(($(uptime) + $1))
deaths=0
pauses=0
xl dmesg -c >xen.log
while [ "$(uptime)" -lt $end ]; do
    if ! xl domid $guest >domid; then
        deaths=$((deaths + 1))
        xl dmesg -c >>xen.log
        await_nothing_left
        fresh_guest || continue
    fi
    touch_lent read 16M 64M >/dev/null 2>&1 &
    touch_lent read 96M 64M >/dev/null 2>&1 &
    while xl pause $guest 2>/dev/null; do
        # It may have died in between.
        xl unpause $guest || break
        pauses=$((pauses + 1))
        [ "$(uptime)" -lt $end ] || break
    done
done
xl dmesg -c >>xen.log
grep -E 'Triple fault|RIP:|domain_crash|cr2' xen.log || echo "no death at all"
echo "seconds=$1 pauses=$pauses deaths=$deaths triple_faults=$(grep -c 'Triple fault' xen.log)"
