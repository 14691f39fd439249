// SPDX-License-Identifier: MIT OR Apache-2.0
//! String instructions in both directions, and the C library's memset and memcpy both ways.

use std::arch::asm;

use super::Case;

/// `rep stos` over the whole target; the first element is the last one in memory if it runs down.
macro_rules! fills {
    ($name:literal, $bytes:literal, $size:literal, $text:literal, $down:literal) => {{
        unsafe fn run(target: *mut u8, ram: *mut u8, bytes: usize) -> u64 {
            let start = if $down { target.wrapping_add(bytes - $size) } else { target };
            let (mut to, mut count) = (start, bytes / $size);
            // SAFETY: the caller gives room for the value.
            let value = unsafe { ram.cast::<u64>().read_unaligned() };
            // SAFETY: stays inside the target; the direction flag is clear again at the end.
            unsafe {
                asm!($text, "cld", inout("rdi") to, inout("rcx") count, in("rax") value);
            }
            (to as u64).wrapping_sub(target as u64) ^ (count as u64) << 32
        }
        Case { name: $name, operation: run, bytes: $bytes, alignment: 1 }
    }};
}

/// `rep movs` and its relatives between two places of `bytes` bytes: `from` and `to` say which.
macro_rules! walks {
    ($name:literal, $bytes:literal, $size:literal, $text:literal, $down:literal, $places:expr) => {{
        unsafe fn run(target: *mut u8, ram: *mut u8, bytes: usize) -> u64 {
            let places: fn(*mut u8, *mut u8, usize) -> (*mut u8, *mut u8, usize) = $places;
            let (from, to, bytes) = places(target, ram, bytes);
            let last = if $down { bytes - $size } else { 0 };
            let (mut source, mut destination) = (from.wrapping_add(last), to.wrapping_add(last));
            let mut count = bytes / $size;
            let flags: u64;
            // SAFETY: stays inside the two places; the direction flag is clear again and the stack
            // is left as it was.
            unsafe {
                asm!(
                    $text, "pushfq", "pop {f}", "cld",
                    f = out(reg) flags,
                    inout("rsi") source, inout("rdi") destination, inout("rcx") count, inout("rax") 0x5A_u64 => _,
                );
            }
            (source as u64).wrapping_sub(from as u64)
                ^ (destination as u64).wrapping_sub(to as u64) << 16
                ^ (count as u64) << 32
                // The arithmetic flags count only where an instruction sets them.
                ^ if $text.contains("movs") { 0 } else { (flags & 0x8D5) << 48 }
        }
        Case { name: $name, operation: run, bytes: $bytes, alignment: 1 }
    }};
}

const fn out(target: *mut u8, ram: *mut u8, bytes: usize) -> (*mut u8, *mut u8, usize) {
    (ram, target, bytes)
}

const fn back(target: *mut u8, ram: *mut u8, bytes: usize) -> (*mut u8, *mut u8, usize) {
    (target, ram, bytes)
}

/// Between two halves of the target.
const fn inside(target: *mut u8, _ram: *mut u8, bytes: usize) -> (*mut u8, *mut u8, usize) {
    let half = bytes / 16 * 8;
    (target, target.wrapping_add(half), half)
}

unsafe fn memset(target: *mut u8, ram: *mut u8, bytes: usize) -> u64 {
    // SAFETY: inside the target.
    unsafe { libc::memset(target.cast(), i32::from(ram.read()), bytes) };
    0
}

unsafe fn memcpy_out(target: *mut u8, ram: *mut u8, bytes: usize) -> u64 {
    // SAFETY: both have room for so many bytes, and do not overlap.
    unsafe { libc::memcpy(target.cast(), ram.cast(), bytes) };
    0
}

unsafe fn memcpy_back(target: *mut u8, ram: *mut u8, bytes: usize) -> u64 {
    // SAFETY: both have room for so many bytes, and do not overlap.
    unsafe { libc::memcpy(ram.cast(), target.cast(), bytes) };
    0
}

/// All cases of this file.
pub fn cases() -> Vec<Case> {
    let routine = |name, operation, bytes| Case { name, operation, bytes, alignment: 1 };
    vec![
        fills!("rep stosb", 777, 1, "cld\nrep stosb", false),
        fills!("rep stosb of pages", 9000, 1, "cld\nrep stosb", false),
        fills!("rep stosw", 778, 2, "cld\nrep stosw", false),
        fills!("rep stosd", 4196, 4, "cld\nrep stosd", false),
        fills!("rep stosq", 4096, 8, "cld\nrep stosq", false),
        fills!("rep stosb down", 777, 1, "std\nrep stosb", true),
        fills!("rep stosq down", 4800, 8, "std\nrep stosq", true),
        fills!("stosd once", 4, 4, "cld\nstosd", false),
        fills!("stosd once down", 4, 4, "std\nstosd", true),
        walks!("rep movsb to lent", 777, 1, "cld\nrep movsb", false, out),
        walks!("rep movsb of pages to lent", 9000, 1, "cld\nrep movsb", false, out),
        walks!("rep movsw to lent", 778, 2, "cld\nrep movsw", false, out),
        walks!("rep movsd to lent", 4196, 4, "cld\nrep movsd", false, out),
        walks!("rep movsq to lent", 4096, 8, "cld\nrep movsq", false, out),
        walks!("rep movsb to lent, down", 777, 1, "std\nrep movsb", true, out),
        walks!("rep movsq to lent, down", 4800, 8, "std\nrep movsq", true, out),
        walks!("rep movsb from lent", 777, 1, "cld\nrep movsb", false, back),
        walks!("rep movsb of pages from lent", 9000, 1, "cld\nrep movsb", false, back),
        walks!("rep movsd from lent", 4196, 4, "cld\nrep movsd", false, back),
        walks!("rep movsq from lent", 4096, 8, "cld\nrep movsq", false, back),
        walks!("rep movsb from lent, down", 777, 1, "std\nrep movsb", true, back),
        walks!("rep movsd from lent, down", 4800, 4, "std\nrep movsd", true, back),
        walks!("rep movsb in lent", 600, 1, "cld\nrep movsb", false, inside),
        walks!("rep movsq in lent", 9600, 8, "cld\nrep movsq", false, inside),
        walks!("rep movsq in lent, down", 4800, 8, "std\nrep movsq", true, inside),
        walks!("movsq once to lent", 8, 8, "cld\nmovsq", false, out),
        walks!("movsq once from lent, down", 8, 8, "std\nmovsq", true, back),
        walks!("rep lodsb", 300, 1, "cld\nrep lodsb", false, back),
        walks!("repe cmpsb", 300, 1, "cld\nrepe cmpsb", false, back),
        walks!("repne cmpsd down", 400, 4, "std\nrepne cmpsd", true, back),
        walks!("repne scasb", 300, 1, "cld\nrepne scasb", false, out),
        walks!("repne scasb down", 300, 1, "std\nrepne scasb", true, out),
        routine("memset", memset, 5000),
        routine("memset of a little", memset, 100),
        routine("memcpy to lent", memcpy_out, 5000),
        routine("memcpy of a little to lent", memcpy_out, 47),
        routine("memcpy from lent", memcpy_back, 5000),
        routine("memcpy of a little from lent", memcpy_back, 47),
    ]
}
