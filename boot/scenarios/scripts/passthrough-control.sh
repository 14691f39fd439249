# SPDX-License-Identifier: MIT OR Apache-2.0
# passthrough-control.sh: what a device's domain is given by stock Xen's own way is within the device's reach. Shows
# that lend-passthrough.sh would notice, and why nothing is lent to such domains on stock Xen.
. /usr/lib/xenlend-scenarios/common.sh
modprobe ownframes
lend-probe reach || fail "see above"
