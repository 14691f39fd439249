# SPDX-License-Identifier: MIT OR Apache-2.0
# demo.sh SECONDS SEED [--flip-byte]: the main job. dom0's GPU driver moves twelve buffers between VRAM
# and RAM, both sides draw and judge. Leaves what it measured in $OUT as name=value lines.
. /usr/lib/xenlend-scenarios/common.sh
seconds=$1 seed=$2 spoil=${3:-}
begin
lend_control
lend_buffers
tell go c
# The number is in a file of the guest's image; dom0 does not look at it.
touch_lent draw 16M 12 $control --nonce-file /lab/nonce --seed "$seed" >"$OUT/guest.txt" 2>"$OUT/guest.err" &
drawer=$!
tell play d c --seconds "$seconds" --seed "$seed" $spoil >"$OUT/lender.txt"
wait $drawer || cat "$OUT/guest.err"
tell status >"$OUT/status.txt"
tell check-all d c --seed "$seed" >"$OUT/end.txt"
# What the guest drew, on the display.
tell show d 0
lab-screenshot screen
{
    echo "xen=$(xl info | sed -n 's/^xen_version *: //p')"
    echo "dom0_kernel=$(uname -r)"
    echo "guest_kernel=$(guest-exec $guest uname -r)"
    # Without the driver there are none.
    echo "guest_page_faults=$(guest-exec $guest xenlend-touch driver 2>/dev/null | sed -n 's/^guest_page_faults=//p' | grep . || echo 0)"
    echo "broker_image_bytes=$(wc -c </usr/libexec/xen/boot/xenlend-stubdom)"
    echo "broker_memory_kib=$(($(xl list $link | awk 'END { print $3 }') * 1024))"
} >"$OUT/facts.txt"
