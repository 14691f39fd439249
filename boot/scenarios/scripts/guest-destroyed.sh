# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that is destroyed while it works on lent pages: no zombie, no broker, nothing lent.
guest=$1
. /usr/lib/xenlend-scenarios/common.sh
begin
lend_control
tell area o own 8
tell prepare o
tell lend 0 o 16M
start_hunt 16M 8 0xdb
tell cycle o revoke 100
xl destroy $guest
until [ "$(xl list | grep -c -E "$guest |$link |null")" = 0 ]; do
    usleep 100000
done
# The memory is the lender's as before.
tell revoke o 0 32K
tell counts c
tell verify o
xenlend status --json | tee status.json
if grep -q "$guest" status.json; then
    fail "the link is still there"
fi
