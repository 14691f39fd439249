# SPDX-License-Identifier: MIT OR Apache-2.0
# lent-page.sh WHAT: the borrower's kernel does something to a lent page that no driver does; see
# modules/lentpage. It gets the result that Xen owes it, and everybody goes on.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 4K
tell lend 0 m $(((16 << 20) + 4096))
# A lent page that is present.
touch_lent read $(((16 << 20) + 4096)) 4K
aperture=$((64 << 30))
guest-exec $guest insmod /lib/modules/extra/lentpage.ko what="$1" \
    address=$((aperture + (16 << 20) + 4096)) absent=$((aperture + (128 << 20)))
guest-exec $guest rmmod lentpage
touch_lent fill $(((16 << 20) + 4096)) 4K 1
tell check m 0 4K 1
status
