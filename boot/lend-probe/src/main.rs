// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations of lend-aware Xen on one guest that has nothing to do, from dom0, which is control domain,
//! lender and broker at once:
//!
//! - `lend-probe GUEST DOMAIN` provokes every answer;
//! - `lend-probe GUEST DOMAIN give-back COMMAND…` gives lent pages back to Xen, and has the command fill the
//!   machine's memory;
//! - `lend-probe GUEST DOMAIN denied` is for a guest that Flask permits nothing for;
//! - `lend-probe GUEST DOMAIN permitted COMMAND…` is for one whose permissions the command switches: with the name
//!   of one, and 0 or 1, added to it;
//! - `lend-probe GUEST DOMAIN lender GUEST DOMAIN` has the second guest lend its pages, dom0 being the broker;
//! - `lend-probe GUEST DOMAIN across STORES` has it store across the end of a page that is lent meanwhile;
//! - `lend-probe GUEST DOMAIN count` prints how much is lent to the guest, whoever lends it;
//! - `lend-probe passthrough` has a device of a domain that it makes itself reach for what is lent to the domain;
//! - `lend-probe reach` has it reach for what is mapped to the domain as stock Xen does it, which it must find;
//! - `lend-probe attach` has the lender's module make links for domains with and without devices.

mod across;
mod attach;
mod bare_domain;
mod denied;
mod edu;
mod faults;
mod frames;
mod given_back;
mod guest_lender;
mod hypercall;
mod lend;
mod passthrough;
mod privcmd;
mod refusals;
mod server;
mod sharing;
mod window;

use anyhow::{bail, ensure, Context, Result};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let guest = arguments.next().context("which guest?")?;
    match guest.as_str() {
        "passthrough" => return passthrough::all(),
        "reach" => return passthrough::reach(),
        "attach" => return attach::all(),
        _ => {}
    }
    let domain = arguments.next().context("which domain?")?.parse()?;
    let borrower = lend::Borrower { domain, privcmd: privcmd::Privcmd::open()? };
    let words: Vec<String> = arguments.collect();
    match words.split_first() {
        None => {}
        Some((word, [])) if word == "count" => {
            let (error, found) = borrower.query();
            ensure!(error == 0, "Xen does not say what is lent: {error}");
            println!("present={} released={}", found.present, found.released);
            return Ok(());
        }
        Some((word, fill_memory)) if word == "give-back" => {
            return given_back::all(&borrower, &window::Window::of(&guest)?, fill_memory);
        }
        Some((word, [])) if word == "denied" => {
            return denied::all(&borrower, &window::Window::of(&guest)?, &frames::Frames::create(1)?);
        }
        Some((word, switch)) if word == "permitted" => {
            return denied::one_by_one(&borrower, &window::Window::of(&guest)?, switch);
        }
        Some((word, [stores])) if word == "across" => {
            let run = frames::Frames::create(512)?;
            return across::all(&borrower, &window::Window::of(&guest)?, &run, stores.parse()?);
        }
        Some((word, [name, number])) if word == "lender" => {
            let lender = guest_lender::Lender::new(name.clone(), number.parse()?);
            return guest_lender::all(&borrower, &window::Window::of(&guest)?, &lender);
        }
        _ => bail!("what is {words:?}?"),
    }
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
