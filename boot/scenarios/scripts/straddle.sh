# SPDX-License-Identifier: MIT OR Apache-2.0
# straddle.sh READS: reads that Xen completes by hand and that end in a page fault, on a vCPU that is being sent
# interrupts: it gets them all. On stock Xen this needs a guest whose interrupts are no vectors of the local
# APIC (boot/decisions/0014-lost-interrupts.md): any other one hangs here, and so does the run.
. /usr/lib/xenlend-scenarios/common.sh
begin
touch_lent --dev-mem straddle 128M --reads "$1" | tee reads
grep -q "^reads=$1 " reads
# A tenth of the reads met an interrupt at least: most of what the other vCPU does is waiting for answers to its own.
[ "$(sed -n 's/.*interrupts=//p' reads)" -ge $(($1 / 10)) ] || fail "hardly any interrupt was sent"
