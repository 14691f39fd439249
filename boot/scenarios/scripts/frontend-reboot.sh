# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest whose command line reserves nothing: its driver claims the aperture from the guest's free address space.
# When the guest reboots its broker leaves with it, and the next domain gets another one by itself.
. /usr/lib/xenlend-scenarios/frontend-common.sh
clear_away
sed -e 's/memmap=[^ ]*//' -e 's/^on_reboot.*/on_reboot = "restart"/' /etc/xen/"$guest".cfg >own.cfg
xl create own.cfg
xenlend up "$guest" --again --timeout 300
# Fills and checks a lease of the guest's domain of now.
use_lease_of_new_domain() {
    until guest-exec "$guest" true 2>/dev/null; do
        xl domid "$guest" >/dev/null || fail "the guest died while it booted"
        usleep 200000
    done
    begin
    if guest-exec "$guest" grep -q memmap /proc/cmdline; then fail "its command line reserves something"; fi
    tell area m memfd 64K
    tell fill m 0 64K "$1"
    tell lend 0 m 16M
    touch_lent check 16M 64K "$1"
    tell punch m 0 64K
    tell fill m 0 64K "$1"
    touch_lent check 16M 64K "$1"
    [ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
    xenlend status "$guest"
    end
}
use_lease_of_new_domain 1
before=$(xl domid "$guest")
broker=$(xl domid "$link")
xl reboot "$guest"
# The old domains are gone, and the new ones are up.
while xl list "$before" >/dev/null 2>&1 || xl list "$broker" >/dev/null 2>&1; do usleep 200000; done
until xenlend status --json "$guest" 2>/dev/null | grep -q '"connected"'; do usleep 200000; done
[ "$(xl domid "$guest")" != "$before" ] || fail "it did not reboot"
use_lease_of_new_domain 2
no_complaint
# Shut down for good, nothing is left.
xenlend down "$guest"
fresh_guest
