// SPDX-License-Identifier: MIT OR Apache-2.0
//! The domain's page tables: everything maps to itself, nothing is both writable and executable, and
//! neither page 0 nor the page below the stack is there at all.

use core::sync::atomic::{AtomicU64, Ordering};

use xenlend_xen_abi::PAGE_SIZE;

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
pub const TABLES: usize = 24;

const TWICE: StartError = StartError::Memory("an address is to be mapped twice");

/// One table. The processor sets flags in it at any time, which an atomic allows.
#[repr(C, align(4096))]
pub struct Table([AtomicU64; ENTRIES]);

impl Table {
    /// Nothing is mapped by it.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "it is for statics")]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; ENTRIES])
    }
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

/// Where the parts of the image begin: the linker script's symbols, all of them at pages.
#[derive(Clone, Copy, Debug)]
pub struct Image {
    /// Its first byte; code is first.
    pub base: u64,
    /// One past the code; constants follow.
    pub text_end: u64,
    /// One past the constants; data follow.
    pub constants_end: u64,
    /// The page below the stack.
    pub stack_guard: u64,
    /// One past its last byte.
    pub limit: u64,
}

/// The domain's page tables, in the making and in use.
pub struct PageTables<'p> {
    pool: &'p [Table],
    pool_address: u64,
    used: usize,
    no_execute: u64,
}

impl<'p> PageTables<'p> {
    /// Tables out of a pool of empty ones that lies at a physical address; `no_execute` says that the processor
    /// knows the flag. Nothing is mapped.
    pub fn new(pool: &'p [Table], pool_address: u64, no_execute: bool) -> Self {
        Self { pool, pool_address, used: 1, no_execute: if no_execute { NO_EXECUTE } else { 0 } }
    }

    /// Maps the image and the RAM around it, with no rights more than needed.
    ///
    /// # Errors
    /// If the tables do not suffice.
    pub fn map_image(&mut self, image: &Image, ram: (u64, u64)) -> Result<(), StartError> {
        // Page 0 stays out: it is where a null pointer leads.
        self.map(ram.0.max(PAGE_SIZE), image.base, Access::Data)?;
        self.map(image.base, image.text_end, Access::Code)?;
        self.map(image.text_end, image.constants_end, Access::Constants)?;
        self.map(image.constants_end, image.stack_guard, Access::Data)?;
        self.map(image.stack_guard.saturating_add(PAGE_SIZE), image.limit, Access::Data)?;
        self.map(image.limit, ram.1, Access::Data)
    }

    /// Physical address of the root.
    pub fn root(&self) -> u64 {
        self.pool_address
    }

    /// Maps the whole pages of a span to themselves.
    ///
    /// # Errors
    /// If the tables do not suffice, or something of it is mapped already.
    pub fn map(&mut self, start: u64, end: u64, access: Access) -> Result<(), StartError> {
        let rights = match access {
            Access::Code => 0,
            Access::Constants => self.no_execute,
            Access::Data => WRITABLE | self.no_execute,
        };
        let mut at = start.next_multiple_of(PAGE_SIZE);
        while end.saturating_sub(at) >= PAGE_SIZE {
            let large = at % LARGE_PAGE_BYTES == 0 && end - at >= LARGE_PAGE_BYTES;
            let pointers = self.descend(0, at, 39)?;
            let directory = self.descend(pointers, at, 30)?;
            if large {
                self.set(directory, at, 21, at | rights | LARGE | PRESENT)?;
                at += LARGE_PAGE_BYTES;
            } else {
                let table = self.descend(directory, at, 21)?;
                self.set(table, at, 12, at | rights | PRESENT)?;
                at += PAGE_SIZE;
            }
        }
        Ok(())
    }

    /// The table below `table` for this address, made if it is missing.
    fn descend(&mut self, table: usize, address: u64, shift: u32) -> Result<usize, StartError> {
        let entry = self.slot(table, address, shift)?.load(Ordering::Relaxed);
        if entry & PRESENT != 0 {
            if entry & LARGE != 0 {
                return Err(TWICE);
            }
            return Ok(((entry & ADDRESS_MASK) - self.pool_address) as usize / size_of::<Table>());
        }
        if self.used >= self.pool.len() {
            return Err(StartError::Memory("more page tables needed than there are"));
        }
        let below = self.used;
        self.used += 1;
        let below_address = self.pool_address + (below * size_of::<Table>()) as u64;
        self.set(table, address, shift, below_address | WRITABLE | PRESENT)?;
        Ok(below)
    }

    /// Fills an entry that is empty: no stale translation of it can exist.
    fn set(&self, table: usize, address: u64, shift: u32, value: u64) -> Result<(), StartError> {
        let slot = self.slot(table, address, shift)?;
        if slot.load(Ordering::Relaxed) & PRESENT != 0 {
            return Err(TWICE);
        }
        slot.store(value, Ordering::Relaxed);
        Ok(())
    }

    fn slot(&self, table: usize, address: u64, shift: u32) -> Result<&AtomicU64, StartError> {
        let index = (address >> shift) as usize % ENTRIES;
        let slot = self.pool.get(table).and_then(|table| table.0.get(index));
        slot.ok_or(StartError::Memory("a page table outside the pool"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL_ADDRESS: u64 = 0x14_0000;
    const IMAGE: Image = Image {
        base: 0x10_0000,
        text_end: 0x11_0000,
        constants_end: 0x11_8000,
        stack_guard: 0x16_0000,
        limit: 0x17_1000,
    };
    const RAM: (u64, u64) = (0, 16 << 20);

    fn pool(tables: usize) -> &'static [Table] {
        Box::leak((0..tables).map(|_| Table::new()).collect())
    }

    /// What the processor finds at an address: the entry that maps it.
    fn walk(tables: &PageTables<'_>, address: u64) -> Option<u64> {
        let mut table = 0;
        for shift in [39, 30, 21, 12] {
            let entry = tables.pool[table].0[(address >> shift) as usize % ENTRIES].load(Ordering::Relaxed);
            if entry & PRESENT == 0 {
                return None;
            }
            if shift == 12 || entry & LARGE != 0 {
                let below = address & ((1 << shift) - 1);
                assert_eq!((entry & ADDRESS_MASK) + below, address, "everything maps to itself");
                return Some(entry);
            }
            table = ((entry & ADDRESS_MASK) - POOL_ADDRESS) as usize / size_of::<Table>();
        }
        None
    }

    fn rights(tables: &PageTables<'_>, address: u64) -> Option<(bool, bool)> {
        walk(tables, address).map(|entry| (entry & WRITABLE != 0, entry & NO_EXECUTE == 0))
    }

    #[test]
    fn every_page_of_the_ram_has_its_rights_and_no_other_page_is_there() {
        let mut tables = PageTables::new(pool(TABLES), POOL_ADDRESS, true);
        tables.map_image(&IMAGE, RAM).unwrap();
        assert_eq!(tables.root(), POOL_ADDRESS);
        for address in (0..32 << 20).step_by(PAGE_SIZE as usize) {
            let expected = match address {
                0 | 0x16_0000 => None,
                0x10_0000..0x11_0000 => Some((false, true)),
                0x11_0000..0x11_8000 => Some((false, false)),
                _ if address < RAM.1 => Some((true, false)),
                _ => None,
            };
            for byte in [address, address + PAGE_SIZE - 1] {
                assert_eq!(rights(&tables, byte), expected, "{byte:#x}");
            }
        }
        assert_eq!(walk(&tables, 1 << 40), None);
    }

    #[test]
    fn a_processor_without_the_flag_gets_none_that_it_does_not_know() {
        let mut tables = PageTables::new(pool(TABLES), POOL_ADDRESS, false);
        tables.map_image(&IMAGE, RAM).unwrap();
        assert_eq!(rights(&tables, 0x11_0000), Some((false, true)));
        assert_eq!(rights(&tables, 0x20_0000), Some((true, true)));
    }

    #[test]
    fn whole_2_mib_take_one_entry_and_the_rest_pages() {
        let mut tables = PageTables::new(pool(TABLES), POOL_ADDRESS, true);
        tables.map(0x1f_f000, 0x60_1000, Access::Data).unwrap();
        let is_large = |at| walk(&tables, at).unwrap() & LARGE != 0;
        assert_eq!([0x1f_f000, 0x20_0000, 0x5f_f000, 0x60_0000].map(is_large), [false, true, true, false]);
        // Root, pointers, directory, and a table for either end.
        assert_eq!(tables.used, 5);
    }

    #[test]
    fn a_part_of_a_page_is_not_mapped() {
        let mut tables = PageTables::new(pool(TABLES), POOL_ADDRESS, true);
        tables.map(0x1_0010, 0x1_2ff0, Access::Data).unwrap();
        let found = [0x1_0000, 0x1_1000, 0x1_2000].map(|at| walk(&tables, at).is_some());
        assert_eq!(found, [false, true, false]);
        tables.map(0x9000, 0x9000, Access::Data).unwrap();
        tables.map(0x9000, 0x8000, Access::Data).unwrap();
        assert_eq!([0x8000, 0x9000].map(|at| walk(&tables, at)), [None, None]);
    }

    #[test]
    fn nothing_is_mapped_twice() {
        for (start, end) in [(0x20_0000, 0x40_0000), (0x30_0000, 0x30_1000), (0x1f_f000, 0x20_1000)] {
            let mut tables = PageTables::new(pool(TABLES), POOL_ADDRESS, true);
            tables.map(0x20_0000, 0x40_0000, Access::Constants).unwrap();
            assert_eq!(tables.map(start, end, Access::Data), Err(TWICE), "{start:#x}");
            assert_eq!(rights(&tables, 0x30_0000), Some((false, false)), "as it was");
        }
        let mut tables = PageTables::new(pool(TABLES), POOL_ADDRESS, true);
        tables.map(0x20_1000, 0x20_2000, Access::Constants).unwrap();
        assert_eq!(tables.map(0x20_1000, 0x20_2000, Access::Data), Err(TWICE), "a page");
        assert_eq!(
            tables.map(0x20_0000, 0x40_0000, Access::Data),
            Err(TWICE),
            "2 MiB of which a part is mapped"
        );
        assert_eq!(rights(&tables, 0x20_1000), Some((false, false)), "as it was");
    }

    #[test]
    fn too_few_tables_are_an_error_that_says_so() {
        let full = StartError::Memory("more page tables needed than there are");
        for tables in 0..5 {
            let mut tables = PageTables::new(pool(tables), POOL_ADDRESS, true);
            let result = tables.map(0x1f_f000, 0x60_1000, Access::Data);
            assert!(matches!(result, Err(StartError::Memory(_))), "{result:?}");
        }
        let mut tables = PageTables::new(pool(4), POOL_ADDRESS, true);
        assert_eq!(tables.map(0x1f_f000, 0x60_1000, Access::Data), Err(full));
    }
}
