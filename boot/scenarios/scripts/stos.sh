# SPDX-License-Identifier: MIT OR Apache-2.0
# stos.sh SHAPE lives|dies: what stock Xen kills a guest for, and a mended one does not.
#   page, across   a `rep stos` waits for its broker while the page is added for another vCPU; the broker is one
#                  that looks at such requests too late
#   scattered      elements go across the border of pages that are neighbours for the program only, where
#                  nothing is lent
. /usr/lib/xenlend-scenarios/common.sh
shape=$1 expected=$2
if [ "$shape" = scattered ]; then set --; else
    set -- --broker-image /usr/libexec/xen/boot/xenlend-stubdom-faulty --broker-args fault=late-stos
fi
# The boot begins with a guest that nothing has happened to; the one before may have died, its broker with it.
if xl domid "$guest" && ! xl domid "$link"; then xenlend up "$guest" "$@"; else fresh_guest "$@"; fi
begin
xl dmesg -c >xen.log
result=dies
if [ "$shape" = scattered ]; then
    if touch_lent stos 128M --shape scattered; then result=lives; fi
else
    tell area m memfd 8K
    tell lend 0 m 16M
    # The first store finds its pages present: nobody else would ask for them.
    touch_lent read 16M 8K
    if tell drive "$guest" xenlend-touch later 16M 'revoke m 0 8K' --rounds 60 --shape "$shape"; then
        result=lives
        [ "$(grown stage2_faults)" -ge 60 ] || fail "hardly anything faulted: $(status)"
    fi
fi
xl dmesg >>xen.log
tail -n 40 xen.log
[ $result = "$expected" ] || fail "the guest $result"
if [ $result = dies ]; then
    grep -q 'domain_crash called from arch/x86/hvm/emulate.c' xen.log || fail "it died of something else"
    if xl domid "$guest"; then fail "it is still there"; fi
fi
