# SPDX-License-Identifier: MIT OR Apache-2.0
# lend-probe.sh: every answer of lend-aware Xen's operations, and what the guest sees of lent pages, with
# dom0 as control domain, lender and broker. The guest has no broker of its own.
. /usr/lib/xenlend-scenarios/common.sh
modprobe ownframes
lend-probe "$guest" "$(xl domid "$guest")" || fail "see above"
# (Xen warns at boot of what the emulated processor lacks.)
if xl dmesg | grep -E "Assertion|Xen BUG"; then fail "Xen complains"; fi
