# SPDX-License-Identifier: MIT OR Apache-2.0
# What the scenarios of the borrower's driver share. Sourced.
. /usr/lib/xenlend-scenarios/common.sh

# One counter of the driver, now.
driver_counter() { guest-exec "$guest" xenlend-touch driver | sed -n "s/^$1=//p"; }

# Lends an area at 16 MiB: the broker keeps the place until the driver has confirmed its zap.
lend_when_free() {
    until tell lend 0 "$1" 16M 2>lend.err; do
        grep -q -i busy lend.err || fail "$(cat lend.err)"
    done
}

# Fails if the guest's kernel has complained about anything.
no_complaint() {
    guest-exec "$guest" dmesg >guest.dmesg
    if grep -E 'BUG:|WARNING: (CPU|possible)|Oops|general protection|rcu.*stall|[Bb]ad (pmd|page)' guest.dmesg; then
        fail "the guest's kernel complained"
    fi
}
