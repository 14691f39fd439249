# SPDX-License-Identifier: MIT OR Apache-2.0
# Memory that is present costs nothing: reading 16 MiB a second time makes no fault and no message.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 16M
tell lend 0 m 16M
tell fill m 0 16M 1
touch_lent check 16M 16M 1
faults=$(($(counter stage2_faults) + $(counter wants)))
sent=$(counter messages_sent)
received=$(counter messages_received)
[ "$faults" -gt 0 ]
touch_lent check 16M 16M 1
touch_lent read 16M 16M
[ $(($(counter stage2_faults) + $(counter wants))) = "$faults" ] || fail "the second reading faulted"
[ "$(counter messages_sent)" = "$sent" ] || fail "messages were sent"
[ "$(counter messages_received)" = "$received" ] || fail "messages were received"
[ "$(counter present_pages)" -ge 4096 ]
status
