# SPDX-License-Identifier: MIT OR Apache-2.0
# Every guest can address the window for lent memory, and its kernel keeps its own things out of it.
for guest in g1 g2; do
    guest-exec $guest dmesg >$guest.dmesg
    grep -q 'user: \[mem 0x0000001000000000-0x000000100fffffff\] reserved' $guest.dmesg
    bits=$(guest-exec $guest sed -n 's/^address sizes.*: \([0-9]*\) bits physical.*/\1/p' /proc/cpuinfo | head -n 1)
    [ "$bits" -ge 37 ]
    guest-exec $guest cat /proc/iomem >$guest.iomem
    grep -q 'System RAM' $guest.iomem
    # Nothing but a reservation may begin in the window.
    if grep -i '^ *100[0-9a-f]\{7\}-' $guest.iomem | grep -vi reserved; then
        exit 1
    fi
done
