// SPDX-License-Identifier: MIT OR Apache-2.0
//! The PVH start info: read once, bound-checked, copied out before its memory is reused.
//!
//! Layout: `xen/include/public/arch-x86/hvm/start_info.h`.

use heapless::{String, Vec};
use xenlend_xen_abi::start_info::{MemoryMapEntry, StartInfo, MAGIC, MEMMAP_TYPE_RAM, VERSION_WITH_MEMMAP};
use zerocopy::FromBytes;

use crate::start_error::StartError;

/// Longest command line, in bytes.
pub const COMMAND_LINE_BYTES: usize = 1024;
/// Most entries of the memory map.
const MEMORY_MAP_ENTRIES: usize = 32;
/// What entry.s maps: nothing of the start info may lie beyond it.
pub const MAPPED_BYTES: u64 = 1 << 30;
/// The largest structure that is read.
const STRUCTURE_BYTES: usize = size_of::<StartInfo>();

/// Memory as it is at entry.
pub trait EntryMemory {
    /// Copies the bytes at a physical address. They are behind page 0's first byte and below [`MAPPED_BYTES`].
    fn read(&self, address: u64, bytes: &mut [u8]);
}

/// What the broker takes from the start info.
#[derive(Debug)]
pub struct Boot {
    /// The command line.
    pub command_line: String<COMMAND_LINE_BYTES>,
    /// The memory map, all kinds.
    pub memory_map: Vec<MemoryMapEntry, MEMORY_MAP_ENTRIES>,
}

impl Boot {
    /// Reads the start info at a physical address.
    ///
    /// # Errors
    /// If it is not a start info of version 1, or points outside what can be read.
    pub fn read(memory: &impl EntryMemory, address: u64) -> Result<Self, StartError> {
        let info: StartInfo = read_at(memory, address)?;
        if info.magic != MAGIC {
            return Err(StartError::StartInfo("no magic number"));
        }
        if info.version < VERSION_WITH_MEMMAP {
            return Err(StartError::StartInfo("no memory map (version 0)"));
        }
        let mut memory_map = Vec::new();
        for index in 0..u64::from(info.memmap_entries) {
            let entry_address = info.memmap_paddr.saturating_add(index * size_of::<MemoryMapEntry>() as u64);
            let entry: MemoryMapEntry = read_at(memory, entry_address)?;
            memory_map.push(entry).map_err(|_| StartError::StartInfo("more than 32 memory map entries"))?;
        }
        let mut command_line = String::new();
        if info.cmdline_paddr != 0 {
            for offset in 0.. {
                let byte: u8 = read_at(memory, info.cmdline_paddr.saturating_add(offset))?;
                if byte == 0 {
                    break;
                }
                if !byte.is_ascii() {
                    return Err(StartError::CommandLine("not ASCII"));
                }
                command_line
                    .push(char::from(byte))
                    .map_err(|()| StartError::CommandLine("more than 1024 bytes"))?;
            }
        }
        Ok(Self { command_line, memory_map })
    }

    /// The RAM that holds this address: first byte, and one past the last.
    pub fn ram_around(&self, address: u64) -> Option<(u64, u64)> {
        self.memory_map
            .iter()
            .find(|entry| entry.kind == MEMMAP_TYPE_RAM && (entry.addr..entry.end()).contains(&address))
            .map(|entry| (entry.addr, entry.end()))
    }

    /// Whether nothing at all is in this span of the address space.
    pub fn is_hole(&self, start: u64, end: u64) -> bool {
        self.memory_map.iter().all(|entry| entry.end() <= start || end <= entry.addr)
    }
}

/// Reads a value at a physical address.
fn read_at<T: FromBytes>(memory: &impl EntryMemory, address: u64) -> Result<T, StartError> {
    let outside = StartError::StartInfo("points outside the first GiB");
    let end = address.checked_add(size_of::<T>() as u64);
    if address == 0 || end.is_none_or(|end| end > MAPPED_BYTES) {
        return Err(outside);
    }
    let mut buffer = [0; STRUCTURE_BYTES];
    let bytes = buffer.get_mut(..size_of::<T>()).ok_or(outside)?;
    memory.read(address, bytes);
    T::read_from_bytes(bytes).map_err(|_| outside)
}
