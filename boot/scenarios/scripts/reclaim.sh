# SPDX-License-Identifier: MIT OR Apache-2.0
# reclaim.sh ROUNDS: dom0's kernel swaps lent memory out, again and again, under two threads of the guest
# that read and write it: revocation inside reclaim, where nothing may wait for memory. No stale access.
. /usr/lib/xenlend-scenarios/common.sh
modprobe zram
echo 128M >/sys/block/zram0/disksize
mkswap /dev/zram0
swapon /dev/zram0
group=/sys/fs/cgroup/lender
mkdir -p /sys/fs/cgroup
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir $group
swapped_out() { sed -n 's/^pswpout //p' /proc/vmstat; }
# What a lender process allocates from now on belongs to the group.
echo 0 >$group/cgroup.procs
begin
echo 0 >/sys/fs/cgroup/cgroup.procs
lend_control
tell area a anonymous 32K
tell prepare a
tell area m memfd 1M
tell fill m 0 1M 1
tell lend 0 a 16M
tell lend 1 m 32M
start_hunt 16M 8 0xdb
before=$(swapped_out)
round=0
while [ $round -lt "$1" ]; do
    round=$((round + 1))
    # Everything that the group has; it says EAGAIN if the guest wants some of it back too soon.
    echo 16M >$group/memory.reclaim 2>/dev/null || echo "round $round: the kernel came to less"
    touch_lent check 32M 1M 1
done
end_hunt
tell counts c
tell check m 0 1M 1
after=$(swapped_out)
echo "pswpout=$((after - before))"
# The file alone has 256 pages, and all of them went at least once.
[ $((after - before)) -ge 256 ] || fail "only $((after - before)) pages were swapped out"
[ "$(grown revoked_pages)" -ge 256 ] || fail "too little was revoked: $(status)"
[ "$(grown forced_revocations)" = 0 ] || fail "revoked by force: $(status)"
if dmesg | grep -E 'blocked for more than|BUG: |possible recursive|circular locking'; then
    fail "dom0's kernel complains"
fi
status
end
swapoff /dev/zram0
