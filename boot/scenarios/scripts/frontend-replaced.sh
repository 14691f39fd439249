# SPDX-License-Identifier: MIT OR Apache-2.0
# One broker goes and another comes while the guest does not run: when it looks, the device has
# other nodes, and its bus, which has never seen it without, takes it for the one that it knows.
. /usr/lib/xenlend-scenarios/frontend-common.sh
use_lease_once() { # SEED
    use_lease "$1"
    [ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
    end
}
use_lease_once 1
links=$(driver_counter links)
xl pause "$guest"
xenlend down "$guest"
xenlend up "$guest"
xl unpause "$guest"
use_lease_once 2
[ "$(driver_counter links)" = $((links + 1)) ] || fail "links: $(driver_counter links), before $links"
no_complaint
