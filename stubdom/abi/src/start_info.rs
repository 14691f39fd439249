// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PVH start info (`public/arch-x86/hvm/start_info.h`): layouts, and their decoding from bytes.

use zerocopy::{FromBytes, Immutable, KnownLayout};

/// `XEN_HVM_START_MAGIC_VALUE`.
pub const MAGIC: u32 = 0x336e_c578;
/// `XEN_HVM_MEMMAP_TYPE_RAM`.
pub const MEMMAP_TYPE_RAM: u32 = 1;
/// First version with a memory map.
pub const VERSION_WITH_MEMMAP: u32 = 1;

/// `struct hvm_start_info`, version 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StartInfo {
    /// [`MAGIC`].
    pub magic: u32,
    /// Version of this structure.
    pub version: u32,
    /// `SIF_*`.
    pub flags: u32,
    /// Modules passed.
    pub nr_modules: u32,
    /// Physical address of the module list.
    pub modlist_paddr: u64,
    /// Physical address of the command line, zero-terminated; 0 if there is none.
    pub cmdline_paddr: u64,
    /// Physical address of the ACPI root.
    pub rsdp_paddr: u64,
    /// Physical address of the memory map.
    pub memmap_paddr: u64,
    /// Its entries.
    pub memmap_entries: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct hvm_memmap_table_entry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryMapEntry {
    /// First byte.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// `MEMMAP_TYPE_*`.
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
}

impl MemoryMapEntry {
    /// One past the last byte.
    pub const fn end(&self) -> u64 {
        self.addr.saturating_add(self.size)
    }
}

const _: () = {
    assert!(core::mem::size_of::<StartInfo>() == 56);
    assert!(core::mem::size_of::<MemoryMapEntry>() == 24);
};
