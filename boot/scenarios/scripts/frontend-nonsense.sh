# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that writes nonsense into its frontend's nodes is refused with the reason, and what is lent to it
# works on. Dom0 writes in the guest's place: the supervisor cannot tell.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 1M
tell lend 0 m 16M
tell fill m 0 1M 1
touch_lent check 16M 1M 1

domid=$(xl domid "$guest")
broker=$(xl domid "$link")
frontend=/local/domain/$domid/device/xenlend/0
backend=/local/domain/$broker/backend/xenlend/$domid/0
claim() { xenstore-write "$frontend/$1" "$2"; }
await() { until [ "$(xenstore-read "$backend/state")" = "$1" ]; do usleep 20000; done; }

# Everything as a driver would write it, but for grants and a port that do not exist.
name_everything() {
    claim protocol 1
    claim ring-ref-0 900
    claim ring-ref-1 901
    claim ring-ref-2 902
    claim event-channel 700
    claim aperture-gfn "$(xenstore-read "$backend/aperture-gfn")"
    claim aperture-pages "$(xenstore-read "$backend/aperture-pages")"
}

# The backend closes with this reason; then the driver begins anew.
expect_refusal() {
    await 5
    xenstore-read "$backend/error" | grep -q "$1" || fail "$(xenstore-read "$backend/error"), not $1"
    xenlend status "$guest" | grep -q "^frontend *refused: .*$1" || fail "$(xenlend status "$guest")"
    claim state 5
    await 6
    claim state 1
    await 2
}

await 2
xenlend status "$guest" | grep -q '^frontend *absent$' || fail "$(xenlend status "$guest")"
for nonsense in 9 4 x; do
    claim state $nonsense
    expect_refusal state
done
for node in protocol ring-ref-0 ring-ref-2 event-channel aperture-gfn aperture-pages; do
    name_everything
    claim $node 0x99999999999999999999
    claim state 3
    expect_refusal $node
done
name_everything
claim aperture-gfn 0x1
claim state 3
expect_refusal aperture
# The broker tries, and Xen does not map what was never granted.
for round in 1 2 3 4 5; do
    name_everything
    claim state 3
    expect_refusal grant
done
touch_lent check 16M 1M 1
tell punch m 0 1M
tell fill m 0 1M 2
touch_lent check 16M 1M 2
status
