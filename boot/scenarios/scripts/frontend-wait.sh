# SPDX-License-Identifier: MIT OR Apache-2.0
# While nobody answers for a page, only the task that touched it stands still: the guest's one vCPU runs
# everything else, the task can be killed, and another gets its page when the broker goes on.
. /usr/lib/xenlend-scenarios/frontend-common.sh
# Starts a toucher in the guest and returns when it sleeps.
start_sleeper() {
    waits=$(driver_counter waits)
    guest-exec "$guest" sh -c 'echo $$ >/tmp/sleeper; exec xenlend-touch read 16M 4K' >slept 2>&1 &
    sleeper=$!
    while [ "$(driver_counter waits)" = "$waits" ]; do usleep 50000; done
}
begin
tell area m memfd 64K
tell lend 0 m 16M
xl pause "$link"
start_sleeper
# Counted work on the vCPU that would stand still without the driver.
[ "$(guest-exec "$guest" sh -c 'n=0; while [ $n -lt 20000 ]; do n=$((n + 1)); done; echo $n')" = 20000 ]
guest-exec "$guest" sh -c 'kill -9 $(cat /tmp/sleeper)'
if wait $sleeper; then fail "it was not killed: $(cat slept)"; fi
start_sleeper
kill -0 $sleeper || fail "it did not wait: $(cat slept)"
xl unpause "$link"
wait $sleeper || fail "it did not get its page: $(cat slept)"
[ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
no_complaint
