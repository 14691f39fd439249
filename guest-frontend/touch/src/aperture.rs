// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the aperture is in the borrower's physical address space, and its mapping through the driver
//! or /dev/mem.

use std::fs;
use std::os::fd::AsRawFd;

use anyhow::{bail, Context, Result};

use crate::driven;
use crate::memory::Memory;

/// How the aperture is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through the borrower's driver.
    Driver,
    /// Through /dev/mem: a guest without one.
    DevMem,
}

impl Way {
    /// The driver if it is loaded.
    pub fn of_this_guest() -> Self {
        if driven::is_loaded() {
            Self::Driver
        } else {
            Self::DevMem
        }
    }
}

/// The aperture as the guest's command line reserves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aperture {
    /// First byte, in the borrower's physical address space.
    pub base: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// How it is mapped.
    pub way: Way,
}

/// A number as a command line has it: decimal or 0x, with an optional K, M or G (powers of 1024).
///
/// # Errors
/// On anything else.
pub fn parse_number(text: &str) -> Result<u64> {
    let (digits, shift) = match text.chars().last().map(|last| last.to_ascii_uppercase()) {
        Some('K') => (&text[..text.len() - 1], 10),
        Some('M') => (&text[..text.len() - 1], 20),
        Some('G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    }
    .with_context(|| format!("{text:?} is no number"))?;
    value.checked_mul(1 << shift).with_context(|| format!("{text:?} is too large"))
}

impl Aperture {
    /// Finds `memmap=SIZE$BASE` in a kernel command line.
    ///
    /// # Errors
    /// When there is none.
    pub fn from_command_line(line: &str) -> Result<Self> {
        for word in line.split_whitespace() {
            if let Some((size, base)) = word.strip_prefix("memmap=").and_then(|rest| rest.split_once('$')) {
                let (base, bytes) = (parse_number(base)?, parse_number(size)?);
                return Ok(Self { base, bytes, way: Way::of_this_guest() });
            }
        }
        bail!("no memmap=SIZE$BASE on the kernel's command line")
    }

    /// The running guest's aperture: what the command line reserves, or else what the driver has; waits until
    /// that is connected.
    ///
    /// # Errors
    /// When neither names one.
    pub fn of_this_guest() -> Result<Self> {
        let line = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
        let reserved = Self::from_command_line(&line);
        if reserved.is_ok() || !driven::is_loaded() {
            return reserved;
        }
        let info = driven::connected()?.info()?;
        Ok(Self { base: info.aperture_address, bytes: info.aperture_bytes, way: Way::Driver })
    }

    /// Maps a part of the aperture, page aligned, for good.
    ///
    /// # Errors
    /// When the part is not inside, or the kernel refuses.
    pub fn map(&self, offset: u64, bytes: u64) -> Result<Memory> {
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes) || bytes == 0 {
            bail!("{offset:#x}+{bytes:#x} is outside the aperture of {:#x} bytes", self.bytes);
        }
        if self.way == Way::Driver {
            return driven::map(offset, bytes);
        }
        let file =
            fs::OpenOptions::new().read(true).write(true).open("/dev/mem").context("cannot open /dev/mem")?;
        // SAFETY: a new shared mapping at an address that the kernel chooses.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes as usize,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                file.as_raw_fd(),
                (self.base + offset) as libc::off_t,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error())
                .with_context(|| format!("cannot map {:#x}+{bytes:#x} of /dev/mem", self.base + offset));
        }
        // SAFETY: just mapped, never unmapped, and no reference is made to it.
        Ok(unsafe { Memory::new(address.cast(), bytes as usize) })
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_number, Aperture, Way};

    #[test]
    fn the_aperture_is_found_on_the_command_line() {
        let line = "console=hvc0 memmap=128M$0x100000000 iomem=relaxed";
        let found = Aperture::from_command_line(line).unwrap();
        assert_eq!((found.base, found.bytes), (1 << 32, 128 << 20));
        assert!(Aperture::from_command_line("memmap=exactmap memmap=1G@0").is_err());
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(parse_number("16M").unwrap(), 16 << 20);
        assert_eq!(parse_number("0x10k").unwrap(), 0x4000);
        for bad in ["", "M", "0x", "1.5", "99999999999G"] {
            assert!(parse_number(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_outside_is_refused() {
        let aperture = Aperture { base: 1 << 32, bytes: 4096, way: Way::DevMem };
        assert!(aperture.map(4096, 1).is_err());
        assert!(aperture.map(u64::MAX, 2).is_err());
        assert!(aperture.map(0, 0).is_err());
    }
}
