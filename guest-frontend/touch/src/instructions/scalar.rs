// SPDX-License-Identifier: MIT OR Apache-2.0
//! Loads, stores and read-modify-write instructions of up to 8 bytes.

use std::arch::asm;

use super::Case;

/// A case of one instruction with a memory operand at `[{t}]` and a register `{v}` that goes in and out.
macro_rules! one {
    ($name:literal, $bytes:literal, $text:literal, $register:ident) => {{
        unsafe fn run(target: *mut u8, ram: *mut u8, _bytes: usize) -> u64 {
            // SAFETY: the caller gives room for the operand.
            let mut value = unsafe { ram.cast::<u64>().read_unaligned() };
            // SAFETY: the instruction touches its operand in the target only.
            unsafe {
                // The mention of `v` in a comment lets an instruction do without it.
                asm!($text, "/* {v} */", t = in(reg) target, v = inout($register) value);
            }
            value
        }
        Case { name: $name, operation: run, bytes: $bytes, alignment: 1 }
    }};
}

/// `lock cmpxchg` of a full word: once it finds what it expects, once it does not.
unsafe fn compare_exchange(target: *mut u8, ram: *mut u8, _bytes: usize) -> u64 {
    // SAFETY: the caller gives room for both operands.
    let (expected, other) =
        unsafe { (target.cast::<u64>().read_unaligned(), ram.cast::<u64>().read_unaligned()) };
    let (mut hit, mut miss) = (expected, other);
    // SAFETY: the instructions touch 8 bytes of the target.
    unsafe {
        asm!("lock cmpxchg [{t}], {v}", t = in(reg) target, v = in(reg) other, inout("rax") hit);
        asm!("lock cmpxchg [{t}], {v}", t = in(reg) target, v = in(reg) expected, inout("rax") miss);
    }
    hit ^ miss.rotate_left(7)
}

/// `cmp` with memory: the flags are the result.
unsafe fn compare(target: *mut u8, ram: *mut u8, _bytes: usize) -> u64 {
    // SAFETY: the caller gives room for both operands.
    let other = unsafe { ram.cast::<u64>().read_unaligned() };
    let flags: u64;
    // SAFETY: reads 8 bytes of the target; the stack is left as it was.
    unsafe {
        asm!("cmp [{t}], {v}", "pushfq", "pop {f}", t = in(reg) target, v = in(reg) other, f = lateout(reg) flags);
    }
    flags & 0x8D5
}

/// `push` from memory and `pop` to memory, at two places of the target.
unsafe fn push_pop(target: *mut u8, _ram: *mut u8, _bytes: usize) -> u64 {
    // SAFETY: touches 16 bytes of the target; the stack is left as it was.
    unsafe {
        asm!("push qword ptr [{t}]", "pop qword ptr [{t} + 8]", t = in(reg) target);
    }
    0
}

/// All cases of this file.
pub fn cases() -> Vec<Case> {
    let plain = |name, operation, bytes| Case { name, operation, bytes, alignment: 1 };
    vec![
        one!("load 1", 1, "movzx {v:e}, byte ptr [{t}]", reg),
        one!("load 1 with sign", 1, "movsx {v}, byte ptr [{t}]", reg),
        one!("load 2", 2, "movzx {v:e}, word ptr [{t}]", reg),
        one!("load 2 with sign", 2, "movsx {v}, word ptr [{t}]", reg),
        one!("load 4", 4, "mov {v:e}, dword ptr [{t}]", reg),
        one!("load 4 with sign", 4, "movsxd {v}, dword ptr [{t}]", reg),
        one!("load 8", 8, "mov {v}, qword ptr [{t}]", reg),
        one!("store 1", 1, "mov byte ptr [{t}], {v:l}", reg),
        one!("store 2", 2, "mov word ptr [{t}], {v:x}", reg),
        one!("store 4", 4, "mov dword ptr [{t}], {v:e}", reg),
        one!("store 8", 8, "mov qword ptr [{t}], {v}", reg),
        one!("store 8 past the cache", 8, "movnti qword ptr [{t}], {v}", reg),
        one!("store 8 of a constant", 8, "mov qword ptr [{t}], 0x12345678", reg),
        one!("add to memory", 8, "add qword ptr [{t}], {v}", reg),
        one!("add from memory", 8, "add {v}, qword ptr [{t}]", reg),
        one!("subtract 4 from memory", 4, "sub dword ptr [{t}], {v:e}", reg),
        one!("and 2", 2, "and word ptr [{t}], {v:x}", reg),
        one!("or 1", 1, "or byte ptr [{t}], {v:l}", reg),
        one!("not", 8, "not qword ptr [{t}]", reg),
        one!("negate", 4, "neg dword ptr [{t}]", reg),
        one!("increment", 8, "inc qword ptr [{t}]", reg),
        one!("shift", 8, "shl qword ptr [{t}], 5", reg),
        one!("set a bit", 8, "bts qword ptr [{t}], 43", reg),
        one!("exchange", 8, "xchg qword ptr [{t}], {v}", reg),
        one!("locked add", 8, "lock add qword ptr [{t}], {v}", reg),
        one!("locked increment", 4, "lock inc dword ptr [{t}]", reg),
        one!("locked or", 8, "lock or qword ptr [{t}], {v}", reg),
        one!("locked exchange and add", 8, "lock xadd qword ptr [{t}], {v}", reg),
        plain("locked compare and exchange", compare_exchange, 8),
        plain("compare", compare, 8),
        plain("push and pop", push_pop, 16),
    ]
}
