# SPDX-License-Identifier: MIT OR Apache-2.0
# `xl save` and `xl restore` of a guest whose programs use a lease: the mapping ends with SIGBUS,
# nothing reads what is not lent, and the driver finds the broker that the restored domain is given.
. /usr/lib/xenlend-scenarios/frontend-common.sh
small_guest
use_lease 1
links=$(driver_counter links)
guest-exec "$guest" sh -c '(xenlend-touch until-bus 16M --marks 1; echo over) >/tmp/touched 2>&1 &
    until grep -q touching /tmp/touched; do usleep 50000; done'
domain=$(xl domid "$guest")
broker=$(xl domid "$link")
xl save "$guest" image
while xl list "$domain" 2>/dev/null || xl list "$broker" 2>/dev/null; do usleep 100000; done
end
xl restore image
rm image
until xenlend status --json "$guest" 2>/dev/null | grep -q '"connected"'; do usleep 200000; done
[ "$(xl domid "$guest")" != "$domain" ] || fail "it is the same domain"
await_boot "$guest"
guest-exec "$guest" sh -c 'until grep -q over /tmp/touched; do usleep 50000; done; cat /tmp/touched' | tee touched
grep -q SIGBUS touched || fail "the mapping did not end"
use_lease 2
[ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
[ "$(driver_counter links)" = $((links + 1)) ] || fail "links: $(driver_counter links), before $links"
no_complaint
