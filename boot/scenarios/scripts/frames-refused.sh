# SPDX-License-Identifier: MIT OR Apache-2.0
# Frames that may not be lent: nothing appears in the guest, and the lender is told why.
. /usr/lib/xenlend-scenarios/common.sh
begin
expect() { # WHY OFFSET
    touch_lent same "$2" 8 0 || touch_lent same "$2" 8 0xff
    tell await "$1" --seconds 30
    # On lend-aware Xen a page of zeros is lent for a moment instead.
    until ! lend_aware || [ "$(counter present_pages)" = 0 ]; do usleep 10000; done
    [ "$(counter present_pages)" = 0 ] || fail "a frame was lent: $1"
}
# Whether Xen translates dom0's frames.
translated() { [ "$(cat /sys/hypervisor/guest_type)" != PV ]; }
device=$(pci_of virtio-pci | head -n 1)
# A page of the guest itself, mapped here: its start of memory. dom0's kernel tells such a frame from a
# device's only where it has a number of its own for it; one that Xen translates has a page of nobody's for it.
tell area f foreign "$(xl domid $guest)" 0x100
tell lend 0 f 16M
if translated; then expect Special 16M; else expect 'Foreign|OtherMmio' 16M; fi
tell unlend 0
# The BAR of a device that nobody allowed.
tell area b file "/sys/bus/pci/devices/$device/resource4" 4K
tell lend 1 b 18M
expect OtherMmio 18M
tell unlend 1
# The page of an MSI-X table, in a BAR that is allowed.
tell allow-bar "$(xl domid $guest)" "$device" 1
tell area x file "/sys/bus/pci/devices/$device/resource1" 4K
tell lend 2 x 20M
expect Msix 20M
tell unlend 2
# A page that another domain has granted: the guest's own, of its xenstore. An access done for the
# guest does not reach it either.
tell area g granted "$(xl domid $guest)" 1
tell lend 3 g 22M
touch_lent same 22M 4K 0 || touch_lent same 22M 4K 0xff
tell await 'Foreign|Special' --seconds 30
tell unlend 3
# Memory that its process hides from everybody: not even an access done for the guest sees it.
tell area s secret 4K
tell fill s 0 4K 7
tell lend 4 s 24M
expect Secret 24M
touch_lent same 24M 4K 0
tell check s 0 4K 7
tell unlend 4
status
