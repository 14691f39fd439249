# SPDX-License-Identifier: MIT OR Apache-2.0
# broker-killed.sh ROUNDS: the broker is destroyed while a vCPU waits for it: the access ends in a fault at its
# address, the guest goes on, and gets another broker.
. /usr/lib/xenlend-scenarios/common.sh
fresh_guest
for round in $(seq "$1"); do
    begin
    tell area m memfd 1M
    tell lend 0 m 16M
    tell fill m 0 1M "$round"
    touch_lent check 16M 1M "$round"
    tell area a memfd 4K
    tell lend 1 a 32M
    # Held, it answers nobody: whoever touches an absent page waits, until it is gone.
    xl pause $link
    touch_lent fault 32M --write &
    toucher=$!
    xl destroy $link
    wait $toucher || fail "no fault in round $round"
    end
    guest-exec $guest true
    xenlend down $guest
    xenlend up $guest
done
begin
tell area m memfd 1M
tell lend 0 m 16M
tell fill m 0 1M 99
touch_lent check 16M 1M 99
status
