# SPDX-License-Identifier: MIT OR Apache-2.0
# The guest freezes, as it does before every suspend. Tasks that wait for a page, by an instruction
# of their own or in the kernel, do not keep it from that, and get their page afterwards. A control
# group that is frozen, and a stop, do not wait for the page either.
. /usr/lib/xenlend-scenarios/frontend-common.sh
in_guest() { guest-exec "$guest" sh -c "$1"; }
# Starts a toucher in the guest and returns when it sleeps: NAME COMMAND...
start_sleeper() {
    name=$1
    shift
    waits=$(driver_counter waits)
    guest-exec "$guest" sh -c "echo \$\$ >/tmp/sleeper.$name; exec xenlend-touch $*" >"slept.$name" 2>&1 &
    eval "sleeper_$name=$!"
    while [ "$(driver_counter waits)" = "$waits" ]; do usleep 50000; done
}
begin
tell area m memfd 64K
tell fill m 0 64K 3
tell lend 0 m 16M
xl pause "$link"
start_sleeper own read 16M 4K
start_sleeper kernel read 0x1001000 4K --by-kernel
# Everything that can be is frozen, and thawed a second later. (The lab's network ends with a
# suspend of devices.)
in_guest 'echo 1 >/sys/module/suspend/parameters/pm_test_delay && echo freezer >/sys/power/pm_test &&
    echo freeze >/sys/power/state && echo none >/sys/power/pm_test' || {
    in_guest 'dmesg | tail -n 30'
    fail "the guest cannot be frozen"
}
for name in own kernel; do
    eval "kill -0 \$sleeper_$name" || fail "it did not wait: $(cat slept.$name)"
done
# A control group of the one whose own instruction it is; stopping it is the same thing.
in_guest 'mkdir -p /tmp/groups && mount -t cgroup2 none /tmp/groups && mkdir /tmp/groups/one &&
    cat /tmp/sleeper.own >/tmp/groups/one/cgroup.procs && echo 1 >/tmp/groups/one/cgroup.freeze'
in_guest 'until grep -q "frozen 1" /tmp/groups/one/cgroup.events; do usleep 50000; done'
in_guest 'echo 0 >/tmp/groups/one/cgroup.freeze; kill -STOP $(cat /tmp/sleeper.own)
    until grep -q "^State:.T" /proc/$(cat /tmp/sleeper.own)/status; do usleep 50000; done
    kill -CONT $(cat /tmp/sleeper.own)'
xl unpause "$link"
for name in own kernel; do
    eval "wait \$sleeper_$name" || fail "it did not get its page: $(cat slept.$name)"
done
[ "$(grown stage2_faults)" = 0 ] || fail "a vCPU stood still: $(status)"
no_complaint
