# SPDX-License-Identifier: MIT OR Apache-2.0
# Buffers of a driver with VRAM: what each side writes is seen by the other, before and after moves in
# both directions.
. /usr/lib/xenlend-scenarios/common.sh
begin
tell allow-bar "$(xl domid $guest)" "$(pci_of bochs-drm)" 0
tell area d dumb bochs-drm 6 --display
tell lend 0 d 16M --bytes 4M
bytes=4M
# Six buffers of 4 MiB and 16 MiB of VRAM: showing the others takes buffer 0 out.
take_out() { for buffer in 1 2 3 4 5; do tell show d $buffer; done; }
generation=0
exchange() {
    generation=$((generation + 1))
    tell fill d 0 $bytes $generation
    touch_lent check 16M $bytes $generation
    generation=$((generation + 1))
    touch_lent fill 16M $bytes $generation
    tell check d 0 $bytes $generation
}
seen() {
    touch_lent check 16M $bytes $generation
    tell check d 0 $bytes $generation
}
exchange
tell show d 0
seen
exchange
take_out
seen
exchange
tell show d 0
seen
[ "$(grown migrations_to_vram)" -ge 2 ] || fail "no migration to VRAM: $(status)"
[ "$(grown migrations_to_ram)" -ge 1 ] || fail "no migration to RAM: $(status)"
[ "$(grown dom0_mapping_hypercalls)" = 0 ] || fail "dom0 mapped by itself"
status
