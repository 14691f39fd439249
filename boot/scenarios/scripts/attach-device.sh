# SPDX-License-Identifier: MIT OR Apache-2.0
# attach-device.sh: the lender's module makes a link for an HVM domain with a device on lend-aware Xen alone, and for
# one that can have none on any.
. /usr/lib/xenlend-scenarios/common.sh
lend-probe attach >attach.out || fail "$(cat attach.out)"
expected=stock
if lend_aware; then expected=lend-aware; fi
grep -q "^$expected Xen" attach.out || fail "not the Xen that was to be tested"
cat attach.out
