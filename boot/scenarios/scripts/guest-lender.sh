# SPDX-License-Identifier: MIT OR Apache-2.0
# guest-lender.sh: g2's kernel lends its pages to g1, with dom0 as control domain and broker; then it is destroyed
# while they are lent. No guest has a broker of its own.
. /usr/lib/xenlend-scenarios/common.sh
modprobe ownframes
borrower=$(xl domid "$guest")
lender=$(xl domid g2)
guest-exec g2 insmod /lib/modules/extra/ownpages.ko self="$lender" borrower="$borrower"
lend-probe "$guest" "$borrower" lender g2 "$lender" || fail "see above"
if xl dmesg | grep -E "Assertion|Xen BUG"; then fail "Xen complains"; fi
