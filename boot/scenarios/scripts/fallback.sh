# SPDX-License-Identifier: MIT OR Apache-2.0
# fallback.sh HOW: a broker that is destroyed, paused or looping while pages are lent and taken away:
# the lender's module revokes by itself, no stale access, and the tool says what happened.
. /usr/lib/xenlend-scenarios/common.sh
if [ "$1" = loop ]; then
    fresh_guest --broker-image /usr/libexec/xen/boot/xenlend-stubdom-faulty --broker-args fault=loop
else
    fresh_guest
fi
begin
lend_control
tell area o own 8
tell prepare o
tell lend 0 o 16M
start_hunt 16M 8 0xdb
case $1 in
destroy | pause)
    tell cycle o revoke 200
    xl $1 $link
    # The guest may be waiting for every page of the object; the control area is always present.
    tell revoke c 0 16K
    ;;
loop)
    tell cycle o revoke 1000000000 --until-forced
    ;;
esac
# Whatever was there is not any more, and stays away.
tell revoke o 0 32K
tell counts c
tell verify o
status | tee status.after
[ "$(counter present_pages)" = 0 ] || fail "pages are present: $(status)"
[ "$(grown forced_revocations)" -ge 1 ] || fail "nothing was forced"
xenlend status
xenlend status --json >status.json
case $1 in
destroy) grep -qi -E 'gone|died|dead' status.json ;;
*) grep -qi -E 'deadline|forced' status.json ;;
esac
end
xl destroy $guest
await_nothing_left
