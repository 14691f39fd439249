// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stock Xen cannot complete by hand: instructions fetched from lent memory, the FPU's state saved and
//! restored, 16 bytes exchanged at once, and single instructions that need up to four pages.

use std::arch::asm;

use anyhow::{Context, Result};
use xenlend_touch::memory::{Memory, PAGE_BYTES};

use crate::instructions::{has_avx, Case};

/// Steps of the routine that is fetched, and its calls in one run.
const STEPS: usize = 8;
const CALLS: u64 = 64;
/// What each step multiplies by and adds.
const FACTOR: u32 = 0x1234_5677;
const ADDEND: u32 = 0x0BCD_EF01;
/// `mov rax, rdi`, the steps of 13 bytes, `ret`.
const CODE_BYTES: usize = 3 + STEPS * 13 + 1;

/// Lets instructions be fetched from a mapping.
pub fn allow_execution(memory: Memory) -> Result<()> {
    let all = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let start = memory.pointer(0, memory.bytes());
    // SAFETY: whole pages of this program's, to which nothing but a right is added.
    let status = unsafe { libc::mprotect(start.cast(), memory.bytes(), all) };
    if status != 0 {
        return Err(std::io::Error::last_os_error()).context("no instruction may be fetched there");
    }
    Ok(())
}

fn code() -> [u8; CODE_BYTES] {
    let mut code = [0; CODE_BYTES];
    code[..3].copy_from_slice(&[0x48, 0x89, 0xF8]);
    for step in code[3..CODE_BYTES - 1].chunks_exact_mut(13) {
        // imul rax, rax, FACTOR; add rax, ADDEND
        step[..3].copy_from_slice(&[0x48, 0x69, 0xC0]);
        step[3..7].copy_from_slice(&FACTOR.to_le_bytes());
        step[7..9].copy_from_slice(&[0x48, 0x05]);
        step[9..].copy_from_slice(&ADDEND.to_le_bytes());
    }
    code[CODE_BYTES - 1] = 0xC3;
    code
}

/// Puts the routine there, unless it is there, and calls it.
unsafe fn fetch(target: *mut u8, _ram: *mut u8, _bytes: usize) -> u64 {
    for (at, byte) in code().into_iter().enumerate() {
        // SAFETY: the caller gives room for the code; volatile because the page comes and goes.
        unsafe {
            if target.add(at).read_volatile() != byte {
                target.add(at).write_volatile(byte);
            }
        }
    }
    // SAFETY: the bytes are a function of this kind, and may be executed there.
    let routine: extern "sysv64" fn(u64) -> u64 = unsafe { std::mem::transmute(target) };
    (0..CALLS).fold(0, |value, _| routine(value))
}

/// FXSAVE and FXRSTOR, with the registers from other RAM and back to it.
unsafe fn save_and_restore(target: *mut u8, ram: *mut u8, _bytes: usize) -> u64 {
    // SAFETY: touches 512 bytes of each; the target is aligned to 16. The FPU's stack and control word are left
    // as they have to be.
    unsafe {
        asm!(
            "movups xmm0, [{r}]",
            "movups xmm7, [{r} + 112]",
            "movups xmm15, [{r} + 240]",
            "fninit",
            "fld1",
            "fldpi",
            "fxsave64 [{t}]",
            "fninit",
            "pxor xmm0, xmm0",
            "pxor xmm7, xmm7",
            "pxor xmm15, xmm15",
            "fxrstor64 [{t}]",
            "movups [{r} + 256], xmm0",
            "movups [{r} + 272], xmm7",
            "movups [{r} + 288], xmm15",
            "fstp qword ptr [{r} + 304]",
            "fstp qword ptr [{r} + 312]",
            "fninit",
            t = in(reg) target, r = in(reg) ram,
            out("xmm0") _, out("xmm1") _, out("xmm2") _, out("xmm3") _, out("xmm4") _, out("xmm5") _,
            out("xmm6") _, out("xmm7") _, out("xmm8") _, out("xmm9") _, out("xmm10") _, out("xmm11") _,
            out("xmm12") _, out("xmm13") _, out("xmm14") _, out("xmm15") _,
            out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
            out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
        );
    }
    0
}

/// The upper 8 bytes and the lower.
fn pair(low: u64, high: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

fn read_pair(at: *mut u8) -> u128 {
    // SAFETY: who calls this has 16 bytes there; what others make of them meanwhile the exchange finds out.
    unsafe { at.cast::<u128>().read_unaligned() }
}

fn exchange(at: *mut u8, expected: u128, new: u128) -> u128 {
    let (mut low, mut high) = (expected as u64, (expected >> 64) as u64);
    // SAFETY: who calls this has 16 aligned bytes there, and every processor of the lab has the instruction. The
    // compiler keeps rbx for itself, so it has it back at the end.
    unsafe {
        asm!(
            "xchg rbx, rsi",
            "lock cmpxchg16b [rdi]",
            "mov rbx, rsi",
            in("rdi") at, inout("rsi") new as u64 => _, in("rcx") (new >> 64) as u64,
            inout("rax") low, inout("rdx") high,
        );
    }
    pair(low, high)
}

/// `lock cmpxchg16b`: once it finds what it expects, once it does not.
unsafe fn exchange_pair(target: *mut u8, ram: *mut u8, _bytes: usize) -> u64 {
    let old = read_pair(target);
    // SAFETY: the caller gives room for both operands.
    let other = unsafe { ram.cast::<u128>().read_unaligned() };
    let new = old.wrapping_mul(other | 1).wrapping_add(other);
    let (hit, miss) = (exchange(target, old, new), exchange(target, !new, other));
    (hit ^ miss.rotate_left(13) ^ (hit >> 64)) as u64
}

/// Adds 1 to the lower and 3 to the upper half of a page's first 16 bytes, as one.
pub fn count_pair(page: Memory) {
    let at = page.pointer(0, 16);
    let mut seen = read_pair(at);
    loop {
        let new = pair((seen as u64).wrapping_add(1), ((seen >> 64) as u64).wrapping_add(3));
        match exchange(at, seen, new) {
            found if found == seen => return,
            found => seen = found,
        }
    }
}

/// Distance of the four places that one instruction gathers from.
const STRIDE: i64 = PAGE_BYTES as i64 - 8;

/// Four loads by one AVX2 instruction, on up to four pages or more.
unsafe fn gather(target: *mut u8, ram: *mut u8, _bytes: usize) -> u64 {
    let places = [0, STRIDE, 2 * STRIDE, 3 * STRIDE];
    // SAFETY: touches 8 bytes at each of the places, all in the target, and 32 of the other RAM.
    unsafe {
        asm!(
            "vpcmpeqd ymm2, ymm2, ymm2",
            "vmovdqu ymm1, [{places}]",
            "vpgatherqq ymm0, [{t} + ymm1], ymm2",
            "vmovdqu [{r}], ymm0",
            t = in(reg) target, r = in(reg) ram, places = in(reg) places.as_ptr(),
            out("xmm0") _, out("xmm1") _, out("xmm2") _,
        );
    }
    0
}

/// `rep movs` from one lent place to another, a page away: each may lie across a border.
unsafe fn copy_inside(target: *mut u8, _ram: *mut u8, _bytes: usize) -> u64 {
    // SAFETY: source and destination are inside the target.
    unsafe {
        asm!(
            "rep movsb",
            inout("rsi") target => _, inout("rdi") target.add(PAGE_BYTES) => _, inout("rcx") 64_usize => _,
        );
        asm!("inc qword ptr [{t} + 28]", t = in(reg) target);
    }
    0
}

/// All cases of this file that this guest's processor has.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        Case { name: "fetched instructions", operation: fetch, bytes: CODE_BYTES, alignment: 1 },
        Case { name: "FXSAVE and FXRSTOR", operation: save_and_restore, bytes: 512, alignment: 16 },
        Case { name: "locked exchange of 16", operation: exchange_pair, bytes: 16, alignment: 16 },
        Case { name: "copy from lent to lent", operation: copy_inside, bytes: PAGE_BYTES + 64, alignment: 1 },
    ];
    if has_avx() {
        cases.push(Case {
            name: "AVX2 gather",
            operation: gather,
            bytes: 3 * STRIDE as usize + 32,
            alignment: 1,
        });
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::{allow_execution, cases, count_pair, fetch, ADDEND, CALLS, FACTOR, STEPS};
    use crate::instructions::{fill, first_difference, places, ram, BYTES, PAGES};

    #[test]
    fn the_fetched_routine_computes_what_it_says() {
        let memory = ram(PAGES);
        allow_execution(memory).unwrap();
        let expected = (0..CALLS as usize * STEPS)
            .fold(0_u64, |value, _| value.wrapping_mul(u64::from(FACTOR)).wrapping_add(u64::from(ADDEND)));
        // SAFETY: there is room, and it may be executed.
        let found = unsafe { fetch(memory.pointer(4050, 200), memory.pointer(0, 8), 200) };
        assert_eq!(found, expected);
    }

    /// On RAM alone every case must agree with itself, or it is no test of lent memory.
    #[test]
    fn every_case_is_repeatable() {
        for case in cases() {
            assert!(!places(&case).is_empty(), "{}", case.name);
            for place in places(&case) {
                let run = || {
                    let (target, other) = (ram(PAGES), ram(PAGES));
                    allow_execution(target).unwrap();
                    fill(target, 1);
                    fill(other, 2);
                    let ram_place = (place + 8) % (BYTES - case.bytes);
                    let found: Vec<u64> = (0..3)
                        // SAFETY: there is room at the places, as `Bench::run` has it.
                        .map(|_| unsafe {
                            (case.operation)(
                                target.pointer(place, case.bytes),
                                other.pointer(ram_place, case.bytes),
                                case.bytes,
                            )
                        })
                        .collect();
                    (found, target, other)
                };
                let (first, second) = (run(), run());
                assert_eq!(first.0, second.0, "{}", case.name);
                assert_eq!(first_difference(first.1, second.1), None, "{}", case.name);
                assert_eq!(first_difference(first.2, second.2), None, "{}", case.name);
            }
        }
    }

    #[test]
    fn pairs_are_counted() {
        let page = ram(1);
        fill(page, 3);
        page.write_u64(0, u64::MAX);
        page.write_u64(8, 5);
        count_pair(page);
        assert_eq!((page.read_u64(0), page.read_u64(8)), (0, 8));
    }
}
