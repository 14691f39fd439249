# SPDX-License-Identifier: MIT OR Apache-2.0
# `xl save` of a guest with leases: nothing lent is in the image, the leases end with the domain, and the restored one is
# given a broker anew. A broker is never saved, and leaves its guest when it is told to shut down.
. /usr/lib/xenlend-scenarios/common.sh
small_guest
# A broker is not saved: xl asks it to suspend, and gives up after a minute. Meanwhile it works.
broker=$(xl domid "$link")
xl save "$link" broker.image >broker.save 2>&1 &
save=$!
use_lease 1
uuid=$(xenlend status --json "$guest" | sed -n 's/.*"guest_uuid": "\(.*\)".*/\1/p')
domain=$(xl domid "$guest")
if wait $save; then fail "a broker was saved"; fi
cat broker.save
rm -f broker.image
[ "$(xl domid "$link")" = "$broker" ] || fail "the broker has gone: $(xl list)"
touch_lent check 16M 64K 1
# The domain goes on after the image: so do its leases. What the guest has of its own is in the image.
dd if=/dev/zero of=copied bs=4096 count=1 2>/dev/null
tell area f file "$PWD/copied" 4K
tell fill f 0 4K 9
guest-exec -i "$guest" sh -c 'cat >/copied' <copied
xl save -c "$guest" image
tell seek f image | tee seek
grep -q '^found=0$' seek && fail "what the guest has of its own is not found in its image"
[ "$(xl domid "$guest")" = "$domain" ] || fail "the guest did not go on: $(xl list)"
await_boot "$guest"
touch_lent check 16M 64K 1
tell punch m 0 64K
tell fill m 0 64K 2
touch_lent check 16M 64K 2
rm image
# The domain ends: so do they.
xl save "$guest" image
tell seek m image | tee seek
grep -q '^found=0$' seek || fail "lent memory is in the image"
while xl list "$domain" 2>/dev/null || xl list "$broker" 2>/dev/null; do usleep 100000; done
end
ls -l image
xl restore image
rm image
until xenlend status --json "$guest" 2>/dev/null | grep -q '"connected"'; do usleep 200000; done
[ "$(xl domid "$guest")" != "$domain" ] || fail "it is the same domain"
xenlend status --json "$guest" | grep -q "$uuid" || fail "it is another guest"
await_boot "$guest"
nothing_lent 16M
use_lease 3
status
# A broker that is told to shut down leaves; the guest goes on.
broker=$(xl domid "$link")
xl shutdown "$link"
while xl list "$broker" 2>/dev/null; do usleep 100000; done
end
guest-exec "$guest" true
# The broker's domain goes before the record of its link.
while xenlend status "$guest" >status.after 2>&1; do usleep 100000; done
grep -q "is not up" status.after || fail "the link is still there: $(cat status.after)"
