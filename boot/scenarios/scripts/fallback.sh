# SPDX-License-Identifier: MIT OR Apache-2.0
# fallback.sh HOW: a broker that is destroyed, paused, looping, creeping or babbling while pages are lent and
# taken away: the lender's module revokes by itself, no stale access, and the tool says what happened. One
# that creeps or babbles is alive and takes or says a little just before each deadline: whoever waits for it
# is let go all the same, and `xenlend down` ends.
. /usr/lib/xenlend-scenarios/common.sh
case $1 in
loop | creep | babble)
    fresh_guest --broker-image /usr/libexec/xen/boot/xenlend-stubdom-faulty --broker-args fault=$1
    ;;
*) fresh_guest ;;
esac
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
loop | creep | babble)
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
creep | babble)
    grep -qi -E 'contract|breach|broke' status.json
    xenlend down $guest
    ;;
*) grep -qi -E 'deadline|forced' status.json ;;
esac
end
xl destroy $guest
await_nothing_left
