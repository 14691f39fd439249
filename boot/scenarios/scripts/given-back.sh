# SPDX-License-Identifier: MIT OR Apache-2.0
# given-back.sh: the lender's kernel gives lent pages back to Xen. They stay the lender's until they are revoked,
# however much memory Xen gives away meanwhile, and are free right afterwards.
. /usr/lib/xenlend-scenarios/common.sh
insmod /lib/modules/extra/giveback.ko
xl destroy g2
# A domain that never runs gets what there is, but for what its own tables take.
cat >fill-memory <<'END'
free=$(xl info free_memory)
for spare in 4 8 12 16 24 32 48; do
    if xl create -p /etc/xen/g2.cfg "memory=$((free - spare))"; then
        echo "$spare of $free MiB are left, and $(xl info free_memory)"
        exit 0
    fi
done
exit 1
END
lend-probe "$guest" "$(xl domid "$guest")" give-back sh fill-memory || fail "see above"
xl destroy g2
if xl dmesg | grep -E "Assertion|Xen BUG"; then fail "Xen complains"; fi
