# SPDX-License-Identifier: MIT OR Apache-2.0
# The graphics card's driver leaves it while its memory is lent: from then on its buffers are a page of zeros of the
# driver's own, in dom0 and so in the guest; no frame of the card stays lent, and the next driver's contents do not show.
. /usr/lib/xenlend-scenarios/common.sh
begin
card=$(pci_of bochs-drm)
tell allow-bar "$(xl domid $guest)" "$card" 0
# More than the card has room for, so they move.
tell area d dumb bochs-drm 12 --display
tell lend 0 d 16M --start 0 --bytes 4M
# XENLEND_REGION_LOSS_FAULT
tell lend 1 d 32M --start 4M --bytes 4M --flags 0x100
tell fill d 0 4M 1
touch_lent check 16M 4M 1
touch_lent fill 32M 4M 2
for buffer in 2 3 4 5 6 7 8 9 10 11 0 1; do tell show d $buffer; done
# What was shown last is in the card's memory.
touch_lent check 16M 4M 1
touch_lent check 32M 4M 2
[ "$(grown migrations_to_vram)" -ge 1 ] || fail "nothing of the card was lent: $(status)"
echo "$card" >/sys/bus/pci/drivers/bochs-drm/unbind
touch_lent same 16M 4M 0
touch_lent same 32M 4M 0
guest-exec $guest true
status
xenlend status --json >status.json
# The card serves another, and the guest does not see it.
echo "$card" >/sys/bus/pci/drivers/bochs-drm/bind
lender start other >/dev/null
lender tell other area d dumb bochs-drm 2 --display
lender tell other show d 0
lender tell other fill d 0 8M 3
lender tell other show d 1
touch_lent same 16M 4M 0
touch_lent same 32M 4M 0
lender tell other exit
[ "$(grown forced_revocations)" = 0 ] || fail "the broker did not answer: $(status)"
