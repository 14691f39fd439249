// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domain's page tables: everything maps to itself, nothing is both writable and executable, and
//! neither page 0 nor the page below the stack is there at all.

use xenlend_xen_abi::PAGE_SIZE;

use crate::single::Single;
use crate::start_error::StartError;

const ENTRIES: usize = 512;
const LARGE_PAGE_BYTES: u64 = 2 << 20;
const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const LARGE: u64 = 1 << 7;
const NO_EXECUTE: u64 = 1 << 63;
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;
/// Tables that can be made: root, pointers, two directories, and one page table for each 2 MiB that is
/// not mapped by one entry.
const TABLES: usize = 24;

#[repr(C, align(4096))]
struct Table([u64; ENTRIES]);

static POOL: Single<[Table; TABLES]> = Single::new([const { Table([0; ENTRIES]) }; TABLES]);

extern "C" {
    static image_start: u8;
    static text_end: u8;
    static constants_end: u8;
    static stack_guard: u8;
    static image_end: u8;
}

/// What may be done with a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and execute.
    Code,
    /// Read.
    Constants,
    /// Read and write.
    Data,
}

/// One past the image's last byte, page-aligned.
pub fn image_limit() -> u64 {
    &raw const image_end as u64
}

/// The image's first byte.
pub fn image_base() -> u64 {
    &raw const image_start as u64
}

/// The domain's page tables, in the making and in use.
pub struct PageTables {
    used: usize,
    no_execute: u64,
}

impl PageTables {
    /// Maps the image and the RAM around it, with no rights more than needed, and switches to these tables.
    ///
    /// # Safety
    /// Called once, with the RAM that holds the image; `no_execute` says that EFER.NXE is set.
    ///
    /// # Errors
    /// If the tables do not suffice.
    pub unsafe fn install(ram: (u64, u64), no_execute: bool) -> Result<Self, StartError> {
        let mut tables = Self { used: 1, no_execute: if no_execute { NO_EXECUTE } else { 0 } };
        let guard = &raw const stack_guard as u64;
        let (base, limit) = (image_base(), image_limit());
        // Page 0 stays out: it is where a null pointer leads.
        tables.map(ram.0.max(PAGE_SIZE), base, Access::Data)?;
        tables.map(base, &raw const text_end as u64, Access::Code)?;
        tables.map(&raw const text_end as u64, &raw const constants_end as u64, Access::Constants)?;
        tables.map(&raw const constants_end as u64, guard, Access::Data)?;
        tables.map(guard + PAGE_SIZE, limit, Access::Data)?;
        tables.map(limit, ram.1, Access::Data)?;
        let root = POOL.get() as u64;
        // SAFETY: the tables map the running code, its stack and its data where they are.
        unsafe { core::arch::asm!("mov cr3, {}", in(reg) root, options(nostack, preserves_flags)) };
        Ok(tables)
    }

    /// Maps a span to itself. It must not be mapped yet.
    ///
    /// # Errors
    /// If the tables do not suffice.
    pub fn map(&mut self, start: u64, end: u64, access: Access) -> Result<(), StartError> {
        let rights = match access {
            Access::Code => 0,
            Access::Constants => self.no_execute,
            Access::Data => WRITABLE | self.no_execute,
        };
        let mut at = start;
        while at < end {
            let large = at.is_multiple_of(LARGE_PAGE_BYTES) && end - at >= LARGE_PAGE_BYTES;
            let pointers = self.descend(0, at, 39)?;
            let directory = self.descend(pointers, at, 30)?;
            if large {
                self.set(directory, at, 21, at | rights | LARGE | PRESENT);
                at += LARGE_PAGE_BYTES;
            } else {
                let table = self.descend(directory, at, 21)?;
                self.set(table, at, 12, at | rights | PRESENT);
                at += PAGE_SIZE;
            }
        }
        Ok(())
    }

    /// The table below `table` for this address, made if it is missing.
    fn descend(&mut self, table: usize, address: u64, shift: u32) -> Result<usize, StartError> {
        let pool = POOL.get() as u64;
        let entry = self.entry(table, address, shift);
        if entry & PRESENT != 0 {
            assert!(entry & LARGE == 0, "{address:#x} is mapped already");
            return Ok(((entry & ADDRESS_MASK) - pool) as usize / size_of::<Table>());
        }
        if self.used == TABLES {
            return Err(StartError::Memory("more page tables needed than there are"));
        }
        let below = self.used;
        self.used += 1;
        let below_address = pool + (below * size_of::<Table>()) as u64;
        self.set(table, address, shift, below_address | WRITABLE | PRESENT);
        Ok(below)
    }

    fn entry(&self, table: usize, address: u64, shift: u32) -> u64 {
        let index = (address >> shift) as usize % ENTRIES;
        assert!(table < self.used);
        // SAFETY: both indices are in range; only this value touches the pool, and the processor's
        // walks only set flags that are not read here.
        unsafe { (&raw const (*POOL.get())[table].0[index]).read_volatile() }
    }

    fn set(&mut self, table: usize, address: u64, shift: u32, value: u64) {
        let index = (address >> shift) as usize % ENTRIES;
        assert!(table < self.used);
        // SAFETY: as in `entry`. The entry was not present, so no stale translation of it can exist.
        unsafe { (&raw mut (*POOL.get())[table].0[index]).write_volatile(value) };
    }
}
