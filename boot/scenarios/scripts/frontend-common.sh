# SPDX-License-Identifier: MIT OR Apache-2.0
# What the scenarios of the borrower's driver share. Sourced.
. /usr/lib/xenlend-scenarios/common.sh

# One counter of the driver, now.
driver_counter() { guest-exec "$guest" xenlend-touch driver | sed -n "s/^$1=//p"; }

# Fails if the guest's kernel has complained about anything.
no_complaint() {
    guest-exec "$guest" dmesg >guest.dmesg
    if grep -E 'BUG:|WARNING: (CPU|possible)|Oops|general protection|rcu.*stall|[Bb]ad (pmd|page)' guest.dmesg; then
        fail "the guest's kernel complained"
    fi
}
