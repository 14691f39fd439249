// SPDX-License-Identifier: MIT OR Apache-2.0
//! Jobs about the driver itself.

use std::io::Write as _;

use anyhow::{bail, Result};
use clap::Args;
use xenlend_guest::{Device, Event, PrefaultStatus};
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::driven::connected;
use xenlend_touch::line::claimed_generation;
use xenlend_touch::memory::PAGE_BYTES;

/// Prints everything that can be asked, as name=value lines.
pub fn print() -> Result<()> {
    let device = Device::open()?;
    let info = device.info()?;
    println!("state={:?}", info.state);
    println!("api_version={}", info.api_version);
    println!("aperture={:#x}:{:#x}", info.aperture_address, info.aperture_bytes);
    for lease in device.leases().unwrap_or_default() {
        println!(
            "lease={} offset={:#x} bytes={:#x} writable={} type={} serial={} label={:?}",
            lease.index,
            lease.offset,
            lease.bytes,
            lease.is_writable,
            if lease.is_write_back { "write-back" } else { "write-combining" },
            lease.serial,
            lease.label
        );
    }
    let counters = device.counters()?;
    println!("guest_page_faults={}", counters.guest_page_faults);
    println!("zaps={}", counters.zaps);
    println!("pages_inserted={}", counters.pages_inserted);
    println!("entries_2mib={}", counters.entries_2mib);
    println!("waits={}", counters.waits);
    println!("prefaults={}", counters.prefaults);
    println!("bus_errors={}", counters.bus_errors);
    println!("unavailable={}", counters.unavailable);
    println!("forced_insertions={}", counters.forced_insertions);
    println!("links={}", counters.links);
    Ok(())
}

#[derive(Args)]
pub struct Prefault {
    #[arg(value_parser = parse_number)]
    offset: u64,
    #[arg(value_parser = parse_number)]
    bytes: u64,
}

impl Prefault {
    pub fn run(&self) -> Result<()> {
        let status = connected()?.prefault_and_wait(self.offset, self.bytes, self.offset)?;
        println!("{status:?}");
        match status {
            PrefaultStatus::Present => Ok(()),
            other => bail!("the pages are {other:?}"),
        }
    }
}

#[derive(Args)]
pub struct Events {
    /// As the event is called: Connected, Lease, Ended, Revoked, Lost, Closing
    until: String,
}

impl Events {
    pub fn run(&self) -> Result<()> {
        let device = Device::open()?;
        println!("listening");
        std::io::stdout().flush()?;
        loop {
            for event in device.events()? {
                let line = format!("{event:?}");
                println!("{line}");
                if line.starts_with(&self.until) {
                    return Ok(());
                }
                if let Event::Unknown(raw) = event {
                    bail!("the driver said {raw:?}");
                }
            }
            device.wait()?;
        }
    }
}

#[derive(Args)]
pub struct UntilBus {
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Generation of the page's first line. Until the end it is that line, or nothing: zeros or ones, when the
    /// lease is over and the mapping not yet
    #[arg(long)]
    marks: Option<u32>,
}

extern "C" fn on_bus_error(_signal: libc::c_int) {
    let word = b"SIGBUS\n";
    // SAFETY: both calls may be made in a signal handler; the bytes are valid for their length.
    unsafe {
        libc::write(1, word.as_ptr().cast(), word.len());
        libc::_exit(0);
    }
}

impl UntilBus {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = aperture.map(self.offset, PAGE_BYTES as u64)?;
        let handler = on_bus_error as extern "C" fn(libc::c_int);
        // SAFETY: the handler makes only calls that a handler may make.
        unsafe { libc::signal(libc::SIGBUS, handler as libc::sighandler_t) };
        let line = memory.read_line(0);
        if self.marks.is_some_and(|marks| marks != claimed_generation(&line)) {
            bail!("not the line: {line:016x?}");
        }
        println!("touching");
        std::io::stdout().flush()?;
        loop {
            let words = memory.read_line(0);
            let is_other = |(word, of): (&u64, &u64)| word != of && *word != 0 && *word != u64::MAX;
            if self.marks.is_some() && words.iter().zip(&line).any(is_other) {
                bail!("another's data: {words:016x?}");
            }
        }
    }
}
