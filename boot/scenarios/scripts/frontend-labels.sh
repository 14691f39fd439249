# SPDX-License-Identifier: MIT OR Apache-2.0
# The guest lists exactly the leases that there are, with place, size and the label that the lender gave to each. A label
# that could not be shown is refused, and changes nothing.
. /usr/lib/xenlend-scenarios/frontend-common.sh
begin
long=the-label-with-exactly-31-bytes
listed() { guest-exec "$guest" xenlend-touch driver | sed -n 's/^\(lease=.*\) serial=[0-9]*/\1/p'; }
# Fails unless the guest lists what is in the file "expected".
lists_as_expected() {
    listed >listed
    diff expected listed || fail "the guest lists other leases"
}
tell area m memfd 1M
tell fill m 0 1M 1
tell lend 0 m 16M --bytes 512K --label "scanout 0"
tell lend 5 m 32M --start 512K --bytes 256K --label $long
tell lend 7 m 48M --bytes 4096
# The driver has heard of all of them.
touch_lent check 16M 512K 1
touch_lent peek 32M 8
touch_lent peek 48M 8
cat >expected <<END
lease=0 offset=0x1000000 bytes=0x80000 writable=true type=write-combining label="scanout 0"
lease=5 offset=0x2000000 bytes=0x40000 writable=true type=write-combining label="$long"
lease=7 offset=0x3000000 bytes=0x1000 writable=true type=write-combining label=""
END
lists_as_expected
xenlend status "$guest" | tee status.tool
for words in '0 at 0x1001000000, 512 KiB "scanout 0"' "5 at 0x1002000000, 256 KiB \"$long\"" '7 at 0x1003000000, 4 KiB ""'; do
    grep -q -F "$words" status.tool || fail "xenlend status does not say $words"
done
xenlend status --json | grep -q '"label": "scanout 0"' || fail "not in the JSON"

refused 'os error 84' lender tell L lend 1 m 64M --label '\e[2J'
refused 'os error 84' lender tell L lend 1 m 64M --label 'grün'
refused 'at most 31 bytes, not 32' lender tell L lend 1 m 64M --label ${long}x
# Not even by the same call: a label is never changed.
refused 'os error 22' lender tell L lend 0 m 16M --bytes 512K --label "scanout 1"
lists_as_expected

# The next lease at its place has a label of its own, or none.
tell unlend 0
until tell lend 0 m 16M --bytes 4096 2>lend.err; do
    grep -q -i busy lend.err || fail "$(cat lend.err)"
done
touch_lent check 16M 4096 1
sed -i '1s/.*/lease=0 offset=0x1000000 bytes=0x1000 writable=true type=write-combining label=""/' expected
lists_as_expected
tell unlend 5
tell unlend 7
sed -i '2,3d' expected
# The driver hears of an end after the lender.
until listed | diff - expected >/dev/null; do usleep 20000; done
no_complaint
