# SPDX-License-Identifier: MIT OR Apache-2.0
# From Xen's PVH entry to Rust.
#
# Boot contract (xen/docs/misc/pvh.pandoc): the toolstack finds the entry's physical address in an ELF note
# (owner "Xen", type 18, XEN_ELFNOTE_PHYS32_ENTRY) and starts vCPU 0 there with
#   ebx        physical address of the start info
#   cr0        PE set, PG clear; cr4 zero
#   cs ds es ss  flat 32-bit segments, cs read/execute, the others read/write
#   eflags     IF, TF and VM clear
# and nothing else defined: in particular no stack.

.section .note.Xen, "a", @note
.balign 4
    .long 4                     # bytes of the owner
    .long 4                     # bytes of the content
    .long 18                    # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_entry

.section .text.entry, "ax", @progbits
.code32
.globl pvh_entry
pvh_entry:
    cld
    mov $boot_stack_top, %esp
    mov %ebx, %ebp              # start info; cpuid below overwrites ebx

    # First tables: the first GiB, identity, 2 MiB pages. Rust replaces them (memory/page_table.rs).
    mov $boot_directory, %edi
    mov $0x83, %eax             # present, writable, 2 MiB
    mov $512, %ecx
1:  mov %eax, (%edi)
    add $0x200000, %eax
    add $8, %edi
    loop 1b
    movl $boot_directory + 3, boot_pointers
    movl $boot_pointers + 3, boot_level4
    mov $boot_level4, %eax
    mov %eax, %cr3

    # PAE, and what SSE needs: the prebuilt core uses it. OSFXSR 9, OSXMMEXCPT 10, PAE 5.
    mov %cr4, %eax
    or $0x620, %eax
    mov %eax, %cr4

    # Long mode, and no-execute pages where the processor has them.
    mov $0x80000001, %eax
    cpuid
    mov %edx, %esi
    mov $0xc0000080, %ecx       # EFER
    rdmsr
    or $0x100, %eax             # LME
    bt $20, %esi                # NX
    jnc 2f
    or $0x800, %eax             # NXE
2:  wrmsr

    # Paging, write protection also in ring 0, native FPU errors, no FPU emulation.
    mov %cr0, %eax
    and $0xfffffffb, %eax       # EM
    or $0x80010022, %eax        # PG, WP, NE, MP
    mov %eax, %cr0

    lgdt boot_gdt_pointer
    ljmp $8, $3f

.code64
3:  mov $16, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    xor %eax, %eax
    mov %eax, %fs
    mov %eax, %gs
    mov $boot_stack_top, %rsp
    mov %ebp, %edi              # first argument; the upper half becomes zero
    bt $20, %esi
    setc %al
    movzbl %al, %esi            # second argument: no-execute pages can be used
    xor %ebp, %ebp
    call broker_entry
    ud2

# One stub of 16 bytes for each of the processor's exceptions: all of them end in exception_entry, with
# the vector and an error code (zero where the processor pushes none) on the stack.
.balign 16
.globl exception_stubs
exception_stubs:
.irp vector, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    .balign 16
    .if ((0x60227d00 >> \vector) & 1) == 0
    push $0
    .endif
    push $\vector
    jmp exception_common
.endr
.balign 16
exception_common:
    mov %rsp, %rdi
    mov %cr2, %rsi
    and $-16, %rsp
    cld
    call exception_entry
    ud2

.section .rodata.boot_gdt, "a", @progbits
.balign 8
boot_gdt:
    .quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
boot_gdt_pointer:
    .word 23
    .quad boot_gdt

.section .bss.boot_tables, "aw", @nobits
.balign 4096
boot_level4:    .skip 4096
boot_pointers:  .skip 4096
boot_directory: .skip 4096

.section .stack, "aw", @nobits
.balign 4096
    .skip 65536
.globl boot_stack_top
boot_stack_top:

.section .text.hypercall_page, "ax", @progbits
.balign 4096
.globl hypercall_page
hypercall_page:
    .skip 4096, 0xcc
