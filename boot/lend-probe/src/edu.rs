// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU's device `edu`, which copies between its own buffer and where it is told to. Its registers are this
//! program's, whoever its DMA addresses belong to.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

const DEVICES: &str = "/sys/bus/pci/devices";
const NAME: [(&str, &str); 2] = [("vendor", "0x1234"), ("device", "0x11e8")];
/// The command register in the configuration space: memory decoded, bus master.
const COMMAND: u64 = 4;
const MEMORY_AND_MASTER: u16 = 0x6;
const BAR_BYTES: usize = 1 << 20;
/// What the first register says, but for the version above.
const IDENTITY: u32 = 0xed;

const SOURCE: usize = 0x80;
const DESTINATION: usize = 0x88;
const COUNT: usize = 0x90;
const CONTROL: usize = 0x98;
const RUN: u64 = 1;
const TO_MEMORY: u64 = 2;
/// The device's buffer, as its registers name it.
const BUFFER: u64 = 0x40000;
/// What is copied at a time: the buffer's size, and a page's.
const BYTES: u64 = 4096;

/// The device.
#[derive(Debug)]
pub struct Edu {
    /// Segment, bus, device and function in one number, as Xen has it.
    pub address: u32,
    /// The first machine frame of its registers.
    pub frame: u64,
    registers: *mut u8,
}

fn is_edu(device: &Path) -> bool {
    NAME.iter().all(|(file, id)| fs::read_to_string(device.join(file)).is_ok_and(|text| text.trim() == *id))
}

/// Of a folder called SSSS:BB:DD.F
fn address_of(device: &Path) -> Option<u32> {
    let name = device.file_name()?.to_str()?;
    let numbers: Vec<u32> =
        name.split([':', '.']).map(|text| u32::from_str_radix(text, 16)).collect::<Result<_, _>>().ok()?;
    match numbers[..] {
        [segment, bus, device, function] => Some(segment << 16 | bus << 8 | device << 3 | function),
        _ => None,
    }
}

/// Where its first BAR is, in bytes.
fn bar_of(device: &Path) -> Result<u64> {
    let resources = fs::read_to_string(device.join("resource"))?;
    let start = resources.strip_prefix("0x").and_then(|text| text.split_whitespace().next());
    u64::from_str_radix(start.context("no BAR")?, 16).context("the address of a BAR")
}

impl Edu {
    /// Finds it and lets it act as bus master.
    pub fn open() -> Result<Self> {
        let devices =
            fs::read_dir(DEVICES)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
        let device = devices.iter().find(|device| is_edu(device)).context("there is no edu device")?;
        fs::write(device.join("enable"), "1").context("enable the device")?;
        let open = |name| File::options().read(true).write(true).open(device.join(name)).context(name);
        let (space, bar) = (open("config")?, open("resource0")?);
        let mut command = [0; 2];
        space.read_exact_at(&mut command, COMMAND)?;
        let command = u16::from_le_bytes(command) | MEMORY_AND_MASTER;
        space.write_all_at(&command.to_le_bytes(), COMMAND)?;
        // SAFETY: a new mapping at an address that the kernel chooses; it lasts until the process ends.
        let registers = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(ptr::null_mut(), BAR_BYTES, protection, libc::MAP_SHARED, bar.as_raw_fd(), 0)
        };
        if registers == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("map the registers");
        }
        let address = address_of(device).with_context(|| device.display().to_string())?;
        // SAFETY: the first register, which has 32 bits.
        let identity = unsafe { registers.cast::<u32>().read_volatile() };
        ensure!(identity & 0xff == IDENTITY, "the device says {identity:#x}");
        Ok(Self { address, frame: bar_of(device)? / BYTES, registers: registers.cast() })
    }

    fn register(&self, offset: usize) -> *mut u64 {
        // SAFETY: the four registers that there are constants for are inside the BAR.
        unsafe { self.registers.add(offset) }.cast()
    }

    fn copy(&self, source: u64, destination: u64, direction: u64) {
        for (offset, value) in
            [(SOURCE, source), (DESTINATION, destination), (COUNT, BYTES), (CONTROL, RUN | direction)]
        {
            // SAFETY: a register of 64 bits, of a device that nobody else drives.
            unsafe { self.register(offset).write_volatile(value) };
        }
        // Its interrupt would be its domain's.
        // SAFETY: as above.
        while unsafe { self.register(CONTROL).read_volatile() } & RUN != 0 {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Copies the page at a frame of its domain's into the buffer.
    pub fn fetch(&self, frame: u64) {
        self.copy(frame * BYTES, BUFFER, 0);
    }

    /// Copies the buffer there.
    pub fn store(&self, frame: u64) {
        self.copy(BUFFER, frame * BYTES, TO_MEMORY);
    }
}
