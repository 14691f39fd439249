# SPDX-License-Identifier: MIT OR Apache-2.0
# A borrower's kernel names a lent page in every hypercall that takes a page or a buffer, and dom0 maps it as a
# foreign one: each is refused, the page stays where and what it is, and everybody goes on.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell area m memfd 4K
at=$(((16 << 20) + 4096))
tell lend 0 m $at
tell fill m 0 4K 1
touch_lent check $at 4K 1
aperture=$((64 << 30))
# Where nothing is lent: the module may put things there and take them away.
guest-exec $guest insmod /lib/modules/extra/lentpage.ko what=hypercalls address=$((aperture + at)) \
    absent=$((aperture + (128 << 20))) || fail "$(guest-exec $guest dmesg | grep lentpage)"
guest-exec $guest dmesg | grep lentpage
guest-exec $guest rmmod lentpage
# Another domain's frame by way of the borrower: not even for the control domain.
refused 'Invalid argument' tell area f foreign "$(xl domid $guest)" $(((aperture + at) >> 12))
cat refused.out
touch_lent fill $at 4K 2
tell check m 0 4K 2
[ "$(grown forced_revocations)" = 0 ] || fail "the broker did not answer: $(status)"
if xl dmesg | grep -E "Assertion|Xen BUG|domain_crash"; then fail "Xen complains"; fi
status
