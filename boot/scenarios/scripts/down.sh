# SPDX-License-Identifier: MIT OR Apache-2.0
# `xenlend down` under a guest that goes on: two vCPUs touch lent pages all the while, the broker takes its
# server off the guest and ends, and another broker can be attached.
. /usr/lib/xenlend-scenarios/common.sh
fresh_guest
for round in 1 2; do
    begin
    lend_control
    tell area m memfd 32K
    tell prepare m
    tell lend 0 m 16M
    start_hunt 16M 8 0xdb
    tell cycle m revoke 100
    xenlend down $guest 2>down.err
    tell await Detached
    # poll() says that nothing comes any more, and read() gives nothing instead of blocking.
    refused 'the link is over' lender tell L await NeverSaid
    [ ! -s down.err ] || fail "$(cat down.err)"
    # Neither alive nor a zombie, and the guest's vCPUs are not waiting for it.
    xl list | tee list
    if grep -q -E "^$link |null" list; then fail "the broker is still there"; fi
    cat <&3
    exec 3<&-
    # Its finding is void: pages of a link that ends read as zeros, then as ones, or end it by a signal.
    if wait $hunter; then echo "the hunters noticed nothing"; fi
    nothing_lent 16M
    end
    xenlend up $guest
done
begin
tell area m memfd 1M
tell lend 0 m 16M
tell fill m 0 1M 3
touch_lent check 16M 1M 3
status
