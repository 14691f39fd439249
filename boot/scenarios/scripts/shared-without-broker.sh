# SPDX-License-Identifier: MIT OR Apache-2.0
# Memory that is present is shared, not copied: with the broker paused, each side sees what the other writes.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 64K
tell lend 0 m 16M
tell poke m 100 0x11
[ "$(touch_lent peek $(((16 << 20) + 100)) 1)" = 11 ]
sent=$(counter messages_sent)
received=$(counter messages_received)
xl pause $link
for value in 22 33 44 55; do
    tell poke m 100 0x$value
    [ "$(touch_lent peek $(((16 << 20) + 100)) 1)" = $value ]
    touch_lent poke $(((16 << 20) + 200)) $value
    [ "$(tell peek m 200)" = $value ]
done
xl unpause $link
[ "$(counter messages_sent)" = "$sent" ] || fail "messages were sent"
[ "$(counter messages_received)" = "$received" ] || fail "messages were received"
