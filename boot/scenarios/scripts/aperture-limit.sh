# SPDX-License-Identifier: MIT OR Apache-2.0
# A guest that claims more aperture than the administrator allows makes dom0 do nothing: the tool refuses, and so does
# the module by itself. What the module allocates afterwards goes by what is lent, not by the aperture.
. /usr/lib/xenlend-scenarios/common.sh
clear_away
sed -e 's/memmap=[^ ]*//' /etc/xen/"$guest".cfg >own.cfg
xl create own.cfg
domain=$(xl domid "$guest")
await_boot "$guest"
# In the place of the guest's driver, at 256 GiB.
claim() { xenstore-write /local/domain/"$domain"/data/xenlend-aperture "0x4000000 $1"; }
# Memory that dom0 has left, in KiB. Tables for what the guest claims would take all of it, so what
# others take meanwhile does not matter.
left() { awk '/^MemAvailable:/ { print $2 }' /proc/meminfo; }
SLACK_KIB=$((64 << 10))
nothing_made() {
    if xl domid "$link" 2>/dev/null; then fail "there is a broker"; fi
    if xenlend status --json "$guest" 2>/dev/null; then fail "there is a link"; fi
    [ "$(left)" -ge $((before - SLACK_KIB)) ] || fail "dom0 had $before KiB left, and has $(left)"
}
before=$(left)
# Pages of 127 GiB and of 16 TiB.
for pages in 33292288 4294967296; do
    claim $pages
    refused "no more than 1024 MiB are allowed" xenlend up "$guest"
    grep -q "to do: .*smaller one" refused.out || fail "what next? $(cat refused.out)"
    refused "no more than 65536 MiB are allowed" xenlend up "$guest" --max-aperture 64G
    nothing_made
done
refused "65536M" xenlend up "$guest" --max-aperture 16T
claim 524288
refused "max-aperture 2048M" xenlend up "$guest"
# The module does not take the tool's word.
lender start A >/dev/null
for bytes in 127G 16384G; do
    for limit in 0 16384G; do
        refused 'os error 27' lender tell A attach "$domain" 999 $bytes $limit
        nothing_made
    done
done
lender tell A exit
if dmesg | grep -E 'WARNING: (CPU|possible)|vmalloc error|page allocation failure'; then fail "dom0's kernel complained"; fi
# As much as is allowed. Nothing is lent, so next to nothing is taken; then something is.
claim 262144
xenlend up "$guest"
[ "$(left)" -ge $((before - SLACK_KIB)) ] || fail "$((before - $(left))) KiB for nothing lent"
begin
tell area m memfd 256M
tell lend 0 m 0
[ "$(left)" -ge $((before - SLACK_KIB)) ] || fail "$((before - $(left))) KiB for 256 MiB lent"
status
end
xenlend down "$guest"
nothing_made
