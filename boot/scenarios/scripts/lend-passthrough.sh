# SPDX-License-Identifier: MIT OR Apache-2.0
# lend-passthrough.sh: a device of an HVM domain that is lent pages: its DMA reaches the domain's own pages, and none
# that are lent. Nobody has a broker.
. /usr/lib/xenlend-scenarios/common.sh
modprobe ownframes
lend-probe passthrough || fail "see above"
if xl dmesg | grep -E "Assertion|Xen BUG"; then fail "Xen complains"; fi
