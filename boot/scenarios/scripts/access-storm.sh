# SPDX-License-Identifier: MIT OR Apache-2.0
# Another guest asks for what nobody lends as fast as its vCPUs can: this guest's revocations need neither
# more messages nor force, and its work goes on.
. /usr/lib/xenlend-scenarios/common.sh
begin
lend_control
tell area o own 8
tell lend 0 o 16M

# Messages for 200 revocations under two vCPUs that hunt.
messages=
work() {
    tell prepare o
    status >status.before
    start_hunt 16M 8 0xdb
    tell cycle o revoke 200
    end_hunt
    tell counts c
    messages=$(grown messages_sent)
    [ "$(grown invalidations)" -ge 200 ] || fail "only $(grown invalidations) invalidations"
    [ "$(grown forced_revocations)" = 0 ] || fail "forced: $(status)"
}
work
quiet=$messages
# A storm's program: where nobody does such accesses, each is a signal, after which it makes the next.
storm='read 64M 64K'
if lend_aware; then storm='fault 64M --again 1000'; fi
guest-exec g2 rm -f /tmp/stop
guest-exec g2 sh -c 'rounds=0
    while [ ! -e /tmp/stop ]; do
        # Past its driver, which would not map what nobody lends.
        xenlend-touch --dev-mem '"$storm"' >/dev/null || exit 1
        rounds=$((rounds + 1))
    done
    echo $rounds' >storm.out &
storm=$!
work
guest-exec g2 touch /tmp/stop
wait $storm || fail "the other guest: $(cat storm.out)"
echo "messages quiet=$quiet storm=$messages rounds=$(cat storm.out)"
[ "$(cat storm.out)" -ge 1 ] || fail "there was no storm"
# How many accesses a revocation meets is up to the hunters: at most one a vCPU more.
[ "$messages" -le $((quiet + 2 * 200)) ] || fail "a revocation takes more messages beside a storm"
tell verify o
status
