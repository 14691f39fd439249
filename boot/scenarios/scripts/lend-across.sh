# SPDX-License-Identifier: MIT OR Apache-2.0
# lend-across.sh STORES: string stores across the end of a page that dom0 takes away and lends again, on a processor of
# its own, while Xen emulates them; the frame that is next in the machine stays what it was.
. /usr/lib/xenlend-scenarios/common.sh
modprobe ownframes
lend-probe "$guest" "$(xl domid "$guest")" across "$1" || fail "see above"
if xl dmesg | grep -E "Assertion|Xen BUG"; then fail "Xen complains"; fi
