# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that is destroyed while it works on lent pages: no zombie, no broker, nothing lent.
. /usr/lib/xenlend-scenarios/common.sh
fresh_guest
begin
lend_control
tell area o own 8
tell prepare o
tell lend 0 o 16M
start_hunt 16M 8 0xdb
tell cycle o revoke 100
xl destroy $guest
await_nothing_left
# The memory is the lender's as before.
tell revoke o 0 32K
tell counts c
tell verify o
