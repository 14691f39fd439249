// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads that begin in an absent page of the aperture and end in a page that faults, on a vCPU that is being
//! sent interrupts: Xen completes the first part by hand, and then has to raise the fault.

use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{bail, Context, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::PAGE_BYTES;

use crate::pin::pin_to_vcpu;

/// Bytes that are read from the absent page: not a power of two, so Xen asks the broker more than once.
const ABSENT_BYTES: usize = 7;

#[derive(Args)]
pub struct Straddle {
    /// A page of the aperture where nothing is lent
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// How often it is read
    #[arg(long, default_value_t = 2000)]
    reads: usize,
}

/// New private pages, never touched.
fn fresh_pages(pages: usize) -> Result<*mut u8> {
    // SAFETY: a new mapping at an address that the kernel chooses.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            pages * PAGE_BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context("no private pages");
    }
    Ok(address.cast())
}

/// Drops a private page: its next touch is a page fault, and every vCPU that runs this program is told.
///
/// # Safety
/// The page was made by [`fresh_pages`] and nothing in it is needed any more.
unsafe fn drop_page(page: *mut u8) -> Result<()> {
    // SAFETY: as promised by the caller.
    if unsafe { libc::madvise(page.cast(), PAGE_BYTES, libc::MADV_DONTNEED) } != 0 {
        return Err(std::io::Error::last_os_error()).context("a page cannot be dropped");
    }
    Ok(())
}

/// Two pages in a row: one of the aperture, one private.
fn border(base: u64) -> Result<*mut u8> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/mem").context("cannot open /dev/mem")?;
    let pages = fresh_pages(2)?;
    // SAFETY: replaces the first of the two pages just mapped.
    let address = unsafe {
        libc::mmap(
            pages.cast(),
            PAGE_BYTES,
            libc::PROT_READ,
            libc::MAP_SHARED | libc::MAP_FIXED,
            file.as_raw_fd(),
            base as libc::off_t,
        )
    };
    if address == libc::MAP_FAILED {
        return Err(std::io::Error::last_os_error()).context("cannot map the aperture");
    }
    Ok(pages)
}

impl Straddle {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let pages = border(aperture.base + self.offset)? as usize;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                pin_to_vcpu(1)?;
                let page = fresh_pages(1)?;
                let mut sent = 0_u64;
                while !over.load(Ordering::SeqCst) {
                    // SAFETY: this thread's own page.
                    unsafe {
                        page.write_volatile(1);
                        drop_page(page)?;
                    }
                    sent += 1;
                }
                anyhow::Ok(sent)
            });
            let result = self.read(pages as *mut u8);
            over.store(true, Ordering::SeqCst);
            let sent = other.join().expect("the other thread panicked")?;
            result?;
            println!("reads={} interrupts={sent}", self.reads);
            Ok(())
        })
    }

    fn read(&self, pages: *mut u8) -> Result<()> {
        pin_to_vcpu(0)?;
        for round in 0..self.reads {
            // SAFETY: eight bytes across the border of the two pages, the second of which is this thread's own.
            let found = unsafe {
                let second = pages.add(PAGE_BYTES);
                drop_page(second)?;
                second.sub(ABSENT_BYTES).cast::<u64>().read_unaligned()
            };
            // What is not lent reads as ones, a private page as zeros.
            if found != u64::MAX >> 8 {
                bail!("read {round} gave {found:#018x}");
            }
        }
        Ok(())
    }
}
