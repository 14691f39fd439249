// SPDX-License-Identifier: MIT OR Apache-2.0
//! Provokes every answer of lend-aware Xen's operations on one guest that has nothing to do, from dom0,
//! which is control domain, lender and broker at once: `lend-probe GUEST DOMAIN`.

mod faults;
mod frames;
mod lend;
mod privcmd;
mod refusals;
mod server;
mod sharing;
mod window;

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let guest = arguments.next().context("which guest?")?;
    let domain = arguments.next().context("which domain?")?.parse()?;
    let borrower = lend::Borrower { domain, privcmd: privcmd::Privcmd::open()? };
    let window = window::Window::of(&guest)?;
    let (page, run) = (frames::Frames::create(1)?, frames::Frames::create(512)?);
    refusals::unnamed(&borrower, &window)?;
    refusals::release(&borrower, &page, &run)?;
    refusals::change(&borrower, &window, &page, &run)?;
    sharing::write_and_read(&borrower, &window, &page, &run)?;
    sharing::read_only(&borrower, &window, &page)?;
    sharing::two_mib(&borrower, &window, &run)?;
    faults::all(&borrower, &window, &page, &run)?;
    // The last one: tables stay with the borrower, so no superpage can be split afterwards.
    refusals::memory(&borrower, &window, &page, &run)
}
