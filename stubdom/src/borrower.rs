// SPDX-License-Identifier: MIT OR Apache-2.0
//! The smallest borrower: this image, told to write to lent pages for ever. Only with the Cargo feature `faults`.
//!
//! For scenarios that need many borrowers, or new ones fast. It believes no word that it has not written itself, and
//! ends with the exception that it meets.

use core::ops::Range;

use xenlend_xen_abi::PAGE_SIZE;

use crate::log;
use crate::memory::page_table::{Access, PageTables};
use crate::start_error::StartError;

/// Most pages written to.
const PAGES: usize = 64;

/// What the command line asks for: `borrow=PAGES`, and where: `memmap=SIZE$BASE`, as for Linux, with a size in
/// MiB and a hexadecimal base.
pub fn pages(command_line: &str) -> Option<Range<u64>> {
    let word = |name| command_line.split_ascii_whitespace().find_map(|word| word.strip_prefix(name));
    let pages: usize = word("borrow=")?.parse().ok()?;
    let (_, base) = word("memmap=")?.split_once('$')?;
    let base = u64::from_str_radix(base.strip_prefix("0x")?, 16).ok()?;
    Some(base..base + pages.min(PAGES) as u64 * PAGE_SIZE)
}

/// Maps them and writes to them.
///
/// # Errors
/// If there is no page table for them.
pub fn run(span: Range<u64>, tables: &mut PageTables) -> Result<(), StartError> {
    tables.map(span.start, span.end, Access::Data)?;
    let mut written = [0_u64; PAGES];
    for round in 1_u64.. {
        for (word, page) in written.iter_mut().zip(span.clone().step_by(PAGE_SIZE as usize)) {
            // SAFETY: mapped just now, and nothing in Rust lives there. Another domain may write it at any time.
            let found = unsafe { (page as *const u64).read_volatile() };
            assert!(round == 1 || found == *word, "{page:#x} holds {found:#x}, and {word:#x} was written");
            *word = page + round;
            // SAFETY: as above.
            unsafe { (page as *mut u64).write_volatile(*word) };
        }
        if round == 1 {
            log!(
                "borrowing {} pages from {:#x}",
                span.clone().step_by(PAGE_SIZE as usize).count(),
                span.start
            );
        }
    }
    Ok(())
}
