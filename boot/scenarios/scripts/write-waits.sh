# SPDX-License-Identifier: MIT OR Apache-2.0
# The lender's process takes the right to write from its own memory for a moment, again and again,
# as a garbage collector does: the guest's writes wait meanwhile and none is lost; what can be read
# is read.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 2M
tell lend 0 m 16M
# The link's counter, while its lender process is busy.
refused_so_far() { xenlend status --json | sed -n 's/.*"refused_frames": *\([0-9]*\).*/\1/p'; }
refused_before=$(refused_so_far)
mkfifo go
guest-exec "$guest" xenlend-touch words 16M 512 <go >words &
writer=$!
exec 4>go
touch flicker
lender tell L flicker m flicker >flickered &
flickering=$!
# Until some writes have met it.
while [ "$(refused_so_far)" -lt $((refused_before + 3)) ]; do usleep 200000; done
rm flicker
wait $flickering
exec 4>&-
wait $writer || fail "words were lost: $(cat words)"
cat words flickered
[ "$(tell sum-words m)" = "$(sed -n 's/.* //p' words)" ] || fail "the sides differ: $(tell sum-words m)"
# For longer: what can be read is, and a write waits, says so, and is done when it may be.
tell area n memfd 64K
tell fill n 0 64K 3
tell lend 1 n 32M
tell events >/dev/null
tell protect n 0 64K read
lend_aware || touch_lent check 32M 4K 3 || fail "what can be read was not"
# Without the driver its vCPU stands still, and guests do not answer then: the lender alone is
# asked.
guest-exec "$guest" xenlend-touch poke 32M ee &
writer=$!
tell await Readonly --seconds 60
kill -0 $writer || fail "the write did not wait"
[ "$(tell peek n 0)" != ee ] || fail "the write was done"
tell protect n 0 64K write
wait $writer
[ "$(tell peek n 0)" = ee ] || fail "the write is lost"
# The process says that nothing will come of it, and takes that back.
tell protect n 4096 4096 read
guest-exec "$guest" xenlend-touch poke $(((32 << 20) + 4096)) ee &
writer=$!
tell await Readonly --seconds 60
tell resolve 1 $(((32 << 20) + 4096)) 4096
wait $writer
[ "$(tell peek n 4096)" != ee ] || fail "the write was done"
tell resolve --retry 1 $(((32 << 20) + 4096)) 4096
tell protect n 4096 4096 write
touch_lent poke $(((32 << 20) + 4096)) ee
[ "$(tell peek n 4096)" = ee ] || fail "the write is lost"
refused 'os error 22' tell resolve 1 48M 4096
refused 'os error 2)' tell resolve 9 32M 4096
# What may not even be read ends by the loss policy.
tell protect n 8192 4096 none
touch_lent same $(((32 << 20) + 8192)) 8 0
tell await Unmapped --seconds 60
# So does a write whose region ends.
tell protect n 0 4096 read
guest-exec "$guest" xenlend-touch poke 32M 11 &
writer=$!
tell await Readonly --seconds 60
tell unlend 1
wait $writer || has_driver
[ "$(tell peek n 0)" = ee ] || fail "a write reached what is not lent"
status
