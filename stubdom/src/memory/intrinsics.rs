// SPDX-License-Identifier: MIT OR Apache-2.0
//! The memory routines that compiled code calls by name and that a C library would otherwise bring.

use core::arch::naked_asm;

/// Copies forwards.
///
/// # Safety
/// As C's `memcpy`.
#[unsafe(naked)]
#[no_mangle]
pub unsafe extern "C" fn memcpy(_to: *mut u8, _from: *const u8, _bytes: usize) -> *mut u8 {
    naked_asm!("mov rax, rdi", "mov rcx, rdx", "rep movsb", "ret")
}

/// Copies in the direction in which nothing is overwritten before it is read.
///
/// # Safety
/// As C's `memmove`.
#[unsafe(naked)]
#[no_mangle]
pub unsafe extern "C" fn memmove(_to: *mut u8, _from: *const u8, _bytes: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "mov rcx, rdx",
        "mov r8, rdi",
        "sub r8, rsi",
        "cmp r8, rdx", // unsigned: below the length only if the target begins inside the source
        "jb 2f",
        "rep movsb",
        "ret",
        "2:",
        "lea rdi, [rdi + rdx - 1]",
        "lea rsi, [rsi + rdx - 1]",
        "std",
        "rep movsb",
        "cld",
        "ret",
    )
}

/// Fills.
///
/// # Safety
/// As C's `memset`.
#[unsafe(naked)]
#[no_mangle]
pub unsafe extern "C" fn memset(_to: *mut u8, _byte: i32, _bytes: usize) -> *mut u8 {
    naked_asm!("mov r8, rdi", "mov eax, esi", "mov rcx, rdx", "rep stosb", "mov rax, r8", "ret")
}

/// Compares.
///
/// # Safety
/// As C's `memcmp`.
#[unsafe(naked)]
#[no_mangle]
pub unsafe extern "C" fn memcmp(_left: *const u8, _right: *const u8, _bytes: usize) -> i32 {
    naked_asm!(
        "xor eax, eax",
        "2:",
        "test rdx, rdx",
        "je 3f",
        "movzx eax, byte ptr [rdi]",
        "movzx ecx, byte ptr [rsi]",
        "sub eax, ecx",
        "jne 3f",
        "inc rdi",
        "inc rsi",
        "dec rdx",
        "jmp 2b",
        "3:",
        "ret",
    )
}

/// Compares for equality only.
///
/// # Safety
/// As C's `bcmp`.
#[unsafe(naked)]
#[no_mangle]
pub unsafe extern "C" fn bcmp(_left: *const u8, _right: *const u8, _bytes: usize) -> i32 {
    naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
}

/// Named by prebuilt code, never reached: a panic aborts.
#[no_mangle]
extern "C" fn _Unwind_Resume() -> ! {
    crate::panic::crash()
}
