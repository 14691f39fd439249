// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rep stos` in the shapes that Xen treats differently. It sends one request for all elements in a page,
//! and one for a single element across a border if the two pages are neighbours; if they are not, it
//! stores that element piece by piece.

use std::arch::asm;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::{Memory, PAGE_BYTES};

#[derive(Args)]
pub struct Stos {
    /// Where the pages are: one, or two for a border
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// What is stored
    #[arg(long, value_enum, default_value_t = Shape::Page)]
    shape: Shape,
    /// How often
    #[arg(long, default_value_t = 1)]
    times: u32,
}

impl Stos {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = self.shape.map(aperture, self.offset)?;
        for _ in 0..self.times {
            self.shape.store(memory, 1);
        }
        println!("stored");
        Ok(())
    }
}

/// What is stored.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// A page, byte by byte
    Page,
    /// Two elements of 8 bytes, the first one across the border of two pages
    Across,
    /// The same, but the pages are neighbours for the program only
    Scattered,
}

impl Shape {
    /// First byte, number of elements, bytes of one.
    pub fn extent(self) -> (usize, usize, usize) {
        match self {
            Self::Page => (0, PAGE_BYTES, 1),
            Self::Across | Self::Scattered => (PAGE_BYTES - 4, 2, 8),
        }
    }

    /// Maps what it takes.
    pub fn map(self, aperture: Aperture, offset: u64) -> Result<Memory> {
        let page = PAGE_BYTES as u64;
        match self {
            Self::Page => aperture.map(offset, page),
            Self::Across => aperture.map(offset, 2 * page),
            Self::Scattered => {
                let window = aperture.map(offset, 2 * page)?;
                for (place, at) in [(offset + page, 0), (offset, PAGE_BYTES)] {
                    move_page(aperture.map(place, page)?, window.pointer(at, PAGE_BYTES))?;
                }
                Ok(window)
            }
        }
    }

    /// Stores a byte's value everywhere.
    pub fn store(self, memory: Memory, value: u8) {
        let (start, elements, size) = self.extent();
        let target = memory.pointer(start, elements * size);
        let value = u64::from_ne_bytes([value; 8]);
        // SAFETY: exactly the bytes that `pointer` found inside the mapping; the direction flag is clear by
        // the ABI.
        unsafe {
            if size == 1 {
                asm!("rep stosb", inout("rdi") target => _, inout("rcx") elements => _, in("al") value as u8);
            } else {
                asm!("rep stosq", inout("rdi") target => _, inout("rcx") elements => _, in("rax") value);
            }
        }
    }
}

/// Puts a mapped page at an address where another one is mapped.
fn move_page(page: Memory, target: *mut u8) -> Result<()> {
    // SAFETY: both are whole mapped pages of this process and nobody else knows the one that moves; the
    // one that it replaces stays memory of the same kind.
    let moved = unsafe {
        libc::mremap(
            page.pointer(0, PAGE_BYTES).cast(),
            PAGE_BYTES,
            PAGE_BYTES,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
            target,
        )
    };
    if moved == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context("a mapped page cannot be moved");
    }
    Ok(())
}
