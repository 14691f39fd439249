# SPDX-License-Identifier: MIT OR Apache-2.0
# Wrong arguments: the documented error, and nothing changed.
. /usr/lib/xenlend-scenarios/common.sh
begin
base=$((0x1000000000))
tell area m memfd 1M
address=$(tell address m)
tell lend 0 m 16M
tell fill m 0 1M 1
touch_lent check 16M 1M 1
regions=$(status | sed -n 's/.*regions=\([0-9]*\).*/\1/p')
raw() { refused "$1" lender tell L raw "$2" "$3" "$4" "$5" "$6"; }
free=$((base + (32 << 20)))
raw 'os error 22' 1 0x10000000 $free 4096 "$address"         # unknown flag
raw 'os error 22' 1 0 $((free + 1)) 4096 "$address"          # address not a page's
raw 'os error 22' 1 0 $free 4097 "$address"                  # size not of pages
raw 'os error 22' 1 0 $free 4096 $((address + 1))            # user address not a page's
raw 'os error 22' 1 0 $((base - 4096)) 8192 "$address"       # begins before the aperture
raw 'os error 22' 1 0 $((base + (256 << 20) - 4096)) 8192 "$address" # ends behind it
raw 'os error 22' 1 0 $free 0xfffffffffffff000 "$address"    # wraps
raw 'os error 22' 64 0 $free 4096 "$address"                 # no such slot
raw 'os error 22' 0 0 $((base + (16 << 20))) 4096 "$address" # resize
raw 'os error 22' 1 0 $free 0x800000000000 0x1000            # user range wraps
raw 'os error 17' 1 0 $((base + (16 << 20) + 4096)) 4096 "$address" # overlaps
if ! lend_aware; then
    raw 'os error 95' 1 2 $free 4096 "$address"                  # read-only
    raw 'os error 95' 1 512 $free 4096 "$address"                # write-back
fi
raw 'os error 22' 0 0x10000000 0 0 0                         # deletes with an unknown flag
refused 'os error 22' lender tell L unlend 5
lender start M >/dev/null
refused 'os error 2' lender tell M bind 999
refused 'os error' lender tell M allow-bar "$(xl domid $guest)" 0000:77:00.0 0
refused 'os error' lender tell M allow-bar "$(xl domid $guest)" "$(pci_of bochs-drm)" 5
lender tell M exit
# The tool.
refused . xenlend up nobody
refused . xenlend up $guest
refused . xenlend down nobody
refused . xenlend up $guest --bar nonsense
refused . xenlend up $guest --aperture 1:2
refused . xenlend frobnicate
refused . xenlend
[ "$(status | sed -n 's/.*regions=\([0-9]*\).*/\1/p')" = "$regions" ] || fail "regions changed"
touch_lent check 16M 1M 1
