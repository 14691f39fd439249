# SPDX-License-Identifier: MIT OR Apache-2.0
# stale-display.sh MIGRATIONS: the driver moves its buffers so often, both sides draw and judge: every line
# read is of the generation published last.
. /usr/lib/xenlend-scenarios/common.sh
begin
lend_control
lend_buffers
tell go c
touch_lent draw 16M 12 $control --nonce 0123456789abcdef --bands 1 --seed "$SEED" >draw.out 2>draw.err &
drawer=$!
tell play d c --migrations "$1" --bands 1 --seed "$SEED" | tee play.out
wait $drawer || fail "the guest saw: $(cat draw.err)"
tell check-all d c --seed "$SEED" | tee all.out
for file in draw.out play.out all.out; do
    grep -q 'integrity_errors=0 stale_reads=0' $file || fail "$file: $(cat $file)"
    if grep -q 'bytes_checked=0 ' $file; then
        fail "$file: nothing was checked"
    fi
done
[ "$(grown migrations_to_vram)" -ge $(($1 / 3)) ]
[ "$(grown migrations_to_ram)" -ge $(($1 / 3)) ]
cat draw.out
status
