// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a lease is mapped: what is refused, and that every type shows the same bytes.

use std::io;

use anyhow::{ensure, Context, Result};
use clap::Args;
use xenlend_guest::layout::{MAP_COHERENT, MAP_UNCACHED};
use xenlend_guest::{Device, MapType, Mapping};
use xenlend_touch::aperture::parse_number;
use xenlend_touch::driven::connected;

#[derive(Args)]
pub struct Types {
    /// First byte of a lease that may be written, at a multiple of 2 MiB
    #[arg(value_parser = parse_number)]
    offset: u64,
    #[arg(value_parser = parse_number)]
    bytes: u64,
}

fn errno(made: io::Result<Mapping>) -> i32 {
    made.err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

fn word(page: usize, round: u64) -> u64 {
    (page as u64) << 32 | round
}

impl Types {
    pub fn run(&self) -> Result<()> {
        let device = connected()?;
        let info = device.info()?;
        ensure!(info.api_version >= 3 && info.has_map_types, "an older driver: {info:?}");
        let lease = device
            .leases()?
            .into_iter()
            .find(|lease| lease.offset == self.offset)
            .context("no lease begins there")?;
        println!("write_back={}", lease.is_write_back);
        let (own, other) = if lease.is_write_back {
            (MapType::Coherent, MapType::Uncached)
        } else {
            (MapType::Uncached, MapType::Coherent)
        };
        let bytes = self.bytes as usize;
        let refused = errno(device.map_as(self.offset, bytes, true, other));
        ensure!(refused == libc::EOPNOTSUPP, "{other:?}: error {refused}");
        for flags in [MAP_COHERENT | MAP_UNCACHED, 1 << 56, 1 << 62] {
            let refused = errno(device.map(self.offset | flags, bytes, true));
            ensure!(refused == libc::EINVAL, "flags {flags:#x}: error {refused}");
        }
        let plain = device.map(self.offset, bytes, true)?;
        let special = device.map_as(self.offset, bytes, true, own)?;
        self.both_show_the_same(&device, &plain, &special)
    }

    fn both_show_the_same(&self, device: &Device, plain: &Mapping, special: &Mapping) -> Result<()> {
        let pages = self.bytes as usize / 4096;
        for page in 0..pages {
            special.write(page * 4096, word(page, 1));
        }
        let large = device.counters()?.entries_2mib;
        for page in 0..pages {
            let found: u64 = plain.read(page * 4096);
            ensure!(found == word(page, 1), "page {page}: {found:#x}");
        }
        println!("entries_2mib={}", device.counters()?.entries_2mib - large);
        for page in 0..pages {
            plain.write(page * 4096 + 8, word(page, 2));
        }
        // What was gathered on its way to memory is there before another type looks.
        xenlend_touch::memory::publish_barrier();
        for page in 0..pages {
            let found: u64 = special.read(page * 4096 + 8);
            ensure!(found == word(page, 2), "page {page}: {found:#x}");
        }
        println!("pages={pages}");
        Ok(())
    }
}
