# SPDX-License-Identifier: MIT OR Apache-2.0
# A broker that is paused for longer than the deadline while nothing is being lent: the module revokes by
# itself, and the broker goes on when it may.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 1M
tell lend 0 m 16M
tell fill m 0 1M 1
touch_lent check 16M 1M 1
xl pause $link
tell revoke m 0 1M
[ "$(counter present_pages)" = 0 ]
[ "$(grown forced_revocations)" = 1 ]
[ "$(grown dom0_mapping_hypercalls)" -ge 1 ]
tell await BrokerForced
xenlend status
xl unpause $link
touch_lent check 16M 1M 1
tell fill m 0 1M 2
touch_lent check 16M 1M 2
status
