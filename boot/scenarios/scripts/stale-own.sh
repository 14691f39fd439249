# SPDX-License-Identifier: MIT OR Apache-2.0
# stale-own.sh CYCLES [PAGES]: a driver takes frames away and poisons them as soon as its notifiers have
# returned, while two vCPUs read and write as fast as they can: no poison is read, no write is lost, and
# none lands in a frame that is gone.
. /usr/lib/xenlend-scenarios/common.sh
begin
lend_control
pages=${2:-8}
tell area o own $pages
tell prepare o
tell lend 0 o 16M
start_hunt 16M $pages 0xdb
tell cycle o revoke "$1"
end_hunt
tell counts c
tell verify o
status
