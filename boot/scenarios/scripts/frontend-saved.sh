# SPDX-License-Identifier: MIT OR Apache-2.0
# A checkpoint (xl save -c) of a guest with a lease: the guest is suspended by Xen and goes on. Its
# program's mapping ends with SIGBUS, and the driver finds its broker again, with the lease and its
# contents.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area m memfd 64K
tell fill m 0 64K 3
tell lend 0 m 16M
touch_lent check 16M 64K 3
links=$(driver_counter links)
rm -f touching
mkfifo touching
guest-exec "$guest" xenlend-touch until-bus 16M >touching &
toucher=$!
exec 4<touching
read -r word <&4
[ "$word" = touching ] || fail "it said $word"
xl save -c "$guest" /dev/null || fail "it cannot be saved"
cat <&4 | grep -q SIGBUS || fail "the mapping did not end"
exec 4<&-
wait $toucher
touch_lent check 16M 64K 3
[ "$(driver_counter links)" = $((links + 1)) ] || fail "links: $(driver_counter links), before $links"
no_complaint
