# SPDX-License-Identifier: MIT OR Apache-2.0
# Odd uses of a mapping have their stated results, none of them a message of the guest's kernel.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
tell area m memfd 64K
tell lend 0 m 16M
touch_lent odd 16M
no_complaint
