// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Xen passes at entry, and whatever else may be there instead.

use xenlend_broker_domain::start_error::StartError;
use xenlend_broker_domain::start_info::{Boot, EntryMemory, COMMAND_LINE_BYTES, MAPPED_BYTES};
use xenlend_broker_domain::window::{Window, WINDOW_BYTES};
use xenlend_xen_abi::start_info::{MAGIC, MEMMAP_TYPE_RAM};

const INFO: u64 = 0x5000;
const COMMAND_LINE: u64 = 0x6000;
const MAP: u64 = 0x8000;
const MIB: u64 = 1 << 20;

/// The first pages, and nothing behind them that a test may look at.
struct Memory(Vec<u8>);

impl EntryMemory for Memory {
    fn read(&self, address: u64, bytes: &mut [u8]) {
        assert!(address != 0 && address + bytes.len() as u64 <= MAPPED_BYTES, "{address:#x} is not mapped");
        for (at, byte) in (address as usize..).zip(bytes) {
            *byte = self.0.get(at).copied().unwrap_or(0);
        }
    }
}

impl Memory {
    fn write(&mut self, address: u64, bytes: &[u8]) {
        self.0[address as usize..][..bytes.len()].copy_from_slice(bytes);
    }

    /// The map's entries: address, bytes, kind.
    fn map(&mut self, entries: &[(u64, u64, u32)]) {
        self.write(INFO + 48, &(entries.len() as u32).to_le_bytes());
        for (at, (address, size, kind)) in (MAP..).step_by(24).zip(entries) {
            self.write(at, &address.to_le_bytes());
            self.write(at + 8, &size.to_le_bytes());
            self.write(at + 16, &kind.to_le_bytes());
        }
    }
}

/// A start info as Xen passes it to a domain of 16 MiB.
fn memory(command_line: &[u8]) -> Memory {
    let mut memory = Memory(vec![0; 0x2_0000]);
    memory.write(INFO, &MAGIC.to_le_bytes());
    memory.write(INFO + 4, &1_u32.to_le_bytes());
    memory.write(INFO + 24, &COMMAND_LINE.to_le_bytes());
    memory.write(INFO + 40, &MAP.to_le_bytes());
    memory.map(&[(0, 16 * MIB, MEMMAP_TYPE_RAM), (0xfc00_0000, 64 * MIB, 2)]);
    memory.write(COMMAND_LINE, command_line);
    memory
}

fn error(memory: &Memory, address: u64) -> StartError {
    Boot::read(memory, address).expect_err("it cannot be read")
}

#[test]
fn what_xen_passes_is_understood() {
    let boot = Boot::read(&memory(b"fault=loop\0rest"), INFO).unwrap();
    assert_eq!(boot.command_line, "fault=loop");
    assert_eq!(boot.ram_around(MIB), Some((0, 16 * MIB)));
    assert_eq!(boot.ram_around(16 * MIB), None);
    assert_eq!(boot.ram_around(0xfc00_0000), None, "there, and no RAM");
    let mut none = memory(b"");
    none.write(INFO + 24, &0_u64.to_le_bytes());
    assert_eq!(Boot::read(&none, INFO).unwrap().command_line, "");
}

#[test]
fn what_is_no_start_info_is_an_error_that_says_why() {
    let mut other = memory(b"");
    other.write(INFO, &1_u32.to_le_bytes());
    assert_eq!(error(&other, INFO), StartError::StartInfo("no magic number"));
    let mut old = memory(b"");
    old.write(INFO + 4, &0_u32.to_le_bytes());
    assert_eq!(error(&old, INFO), StartError::StartInfo("no memory map (version 0)"));
    let outside = StartError::StartInfo("points outside the first GiB");
    for address in [0, MAPPED_BYTES, MAPPED_BYTES - 55, u64::MAX, u64::MAX - 3] {
        assert_eq!(error(&memory(b""), address), outside, "{address:#x}");
    }
    for (field, what) in [(24, "command line"), (40, "memory map")] {
        for address in [MAPPED_BYTES, u64::MAX, u64::MAX - 30] {
            let mut memory = memory(b"");
            memory.write(INFO + field, &address.to_le_bytes());
            assert_eq!(error(&memory, INFO), outside, "{what} at {address:#x}");
        }
    }
}

#[test]
fn what_is_too_long_is_an_error_and_no_endless_loop() {
    let longest = [b'a'; COMMAND_LINE_BYTES];
    assert_eq!(Boot::read(&memory(&longest), INFO).unwrap().command_line.len(), COMMAND_LINE_BYTES);
    let longer = [b'a'; COMMAND_LINE_BYTES + 1];
    assert_eq!(error(&memory(&longer), INFO), StartError::CommandLine("more than 1024 bytes"));
    assert_eq!(error(&memory(b"f\xfcr"), INFO), StartError::CommandLine("not ASCII"));
    let mut many = memory(b"");
    many.map(&[(0, MIB, MEMMAP_TYPE_RAM); 32]);
    assert_eq!(Boot::read(&many, INFO).unwrap().memory_map.len(), 32);
    many.write(INFO + 48, &u32::MAX.to_le_bytes());
    assert_eq!(error(&many, INFO), StartError::StartInfo("more than 32 memory map entries"));
}

#[test]
fn the_window_is_a_hole_that_nothing_reaches_into() {
    let window = |entries: &[(u64, u64, u32)]| {
        let mut memory = memory(b"");
        memory.map(entries);
        Window::find(&Boot::read(&memory, INFO).unwrap()).map(|window| window.span())
    };
    let at = |start| Ok((start, start + WINDOW_BYTES));
    assert_eq!(window(&[(0, 16 * MIB, MEMMAP_TYPE_RAM)]), at(64 * MIB));
    assert_eq!(window(&[(0, 64 * MIB, MEMMAP_TYPE_RAM)]), at(64 * MIB), "up to its first byte");
    assert_eq!(window(&[(0, 64 * MIB + 1, MEMMAP_TYPE_RAM)]), at(66 * MIB));
    // Of whatever kind, and also what lies inside it.
    assert_eq!(window(&[(0, MIB, MEMMAP_TYPE_RAM), (65 * MIB, 4096, 2)]), at(66 * MIB));
    assert_eq!(window(&[(64 * MIB, 2 * MIB, 4), (67 * MIB, 1, 2), (68 * MIB, 1, 2)]), at(70 * MIB));
    let none = Err(StartError::Memory("no hole of 2 MiB between 64 MiB and 1 GiB"));
    assert_eq!(window(&[(0, u64::MAX, MEMMAP_TYPE_RAM)]), none);
    assert_eq!(window(&[(4096, u64::MAX, MEMMAP_TYPE_RAM)]), none, "its end would overflow");
}

#[test]
fn each_frame_of_the_window_is_handed_out_once() {
    let mut window = Window::find(&Boot::read(&memory(b""), INFO).unwrap()).unwrap();
    let (start, end) = window.span();
    for address in (start..end).step_by(4096) {
        let frame = window.take().unwrap();
        assert_eq!((frame.address(), frame.gfn()), (address, address / 4096));
    }
    assert_eq!(window.take(), Err(StartError::Memory("the window is used up")));
}
