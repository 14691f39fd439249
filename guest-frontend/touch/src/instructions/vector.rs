// SPDX-License-Identifier: MIT OR Apache-2.0
//! SSE and AVX loads and stores, aligned, unaligned and past the cache.

use std::arch::asm;

use super::Case;

/// Loads from the target and stores to other RAM, or the reverse, through one vector register.
macro_rules! moves {
    ($name:literal, $bytes:literal, $alignment:literal, $first:literal, $second:literal, $register:tt) => {{
        unsafe fn run(target: *mut u8, ram: *mut u8, _bytes: usize) -> u64 {
            // SAFETY: touches `bytes` bytes of each; an instruction that needs alignment has it in the
            // target, and only unaligned moves are used on the other RAM.
            unsafe {
                asm!($first, $second, t = in(reg) target, r = in(reg) ram, out($register) _);
            }
            0
        }
        Case { name: $name, operation: run, bytes: $bytes, alignment: $alignment }
    }};
}

/// Whether this guest has AVX.
pub fn has_avx() -> bool {
    std::arch::is_x86_feature_detected!("avx2")
}

/// All cases of this file that this guest's processor has.
pub fn cases() -> Vec<Case> {
    let mut cases = vec![
        moves!("SSE load", 16, 1, "movups xmm0, [{t}]", "movups [{r}], xmm0", "xmm0"),
        moves!("SSE store", 16, 1, "movups xmm0, [{r}]", "movups [{t}], xmm0", "xmm0"),
        moves!("SSE aligned load", 16, 16, "movaps xmm0, [{t}]", "movups [{r}], xmm0", "xmm0"),
        moves!("SSE aligned store", 16, 16, "movups xmm0, [{r}]", "movaps [{t}], xmm0", "xmm0"),
        moves!("SSE2 load", 16, 1, "movdqu xmm1, [{t}]", "movdqu [{r}], xmm1", "xmm1"),
        moves!("SSE2 store", 16, 1, "movdqu xmm1, [{r}]", "movdqu [{t}], xmm1", "xmm1"),
        moves!("SSE2 store past the cache", 16, 16, "movdqu xmm1, [{r}]", "movntdq [{t}], xmm1", "xmm1"),
        moves!("SSE2 load of 8", 8, 1, "movq xmm1, qword ptr [{t}]", "movq qword ptr [{r}], xmm1", "xmm1"),
        moves!("SSE2 store of 4", 4, 1, "movd xmm1, dword ptr [{r}]", "movd dword ptr [{t}], xmm1", "xmm1"),
    ];
    if has_avx() {
        cases.extend([
            moves!("AVX load", 32, 1, "vmovups ymm0, [{t}]", "vmovups [{r}], ymm0", "xmm0"),
            moves!("AVX store", 32, 1, "vmovups ymm0, [{r}]", "vmovups [{t}], ymm0", "xmm0"),
            moves!("AVX aligned load", 32, 32, "vmovaps ymm0, [{t}]", "vmovups [{r}], ymm0", "xmm0"),
            moves!("AVX aligned store", 32, 32, "vmovups ymm0, [{r}]", "vmovaps [{t}], ymm0", "xmm0"),
            moves!("AVX load of 16", 16, 1, "vmovdqu xmm2, [{t}]", "vmovdqu [{r}], xmm2", "xmm2"),
            moves!("AVX2 load", 32, 1, "vmovdqu ymm2, [{t}]", "vmovdqu [{r}], ymm2", "xmm2"),
            moves!("AVX store past the cache", 32, 32, "vmovdqu ymm2, [{r}]", "vmovntdq [{t}], ymm2", "xmm2"),
        ]);
    }
    cases
}
