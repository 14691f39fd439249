// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the lender's module makes a link for a domain that has a device, or may have one.

use std::io;

use anyhow::{ensure, Context, Result};
use xenlend::layout::Attach;
use xenlend::Device;

use crate::bare_domain::{BareDomain, Iommu};
use crate::edu::Edu;
use crate::refusals::expect;

/// Where no domain of this program has anything.
const APERTURE: u64 = 64 << 30;
const APERTURE_BYTES: u64 = 2 << 20;

/// Makes a link and ends it; the error number, or 0.
fn link(module: &Device, borrower: &BareDomain) -> Result<i32> {
    // It never runs: the module hears nothing of it.
    let broker = BareDomain::create(Iommu::Without)?;
    let request = Attach {
        borrower: borrower.domain,
        broker: broker.domain,
        aperture_address: APERTURE,
        aperture_size: APERTURE_BYTES,
        vcpus: 1,
        ..Attach::default()
    };
    let outcome = module.attach(request);
    if outcome.is_ok() {
        module.detach(borrower.domain).context("end the link")?;
    }
    Ok(outcome.err().map_or(0, |error: io::Error| error.raw_os_error().unwrap_or(-1)))
}

/// With domains of its own. Stock Xen would enter what is lent into the IOMMU's tables.
pub fn all() -> Result<()> {
    let module = Device::open().context("/dev/xenlend")?;
    let edu = Edu::open()?;
    let none = BareDomain::create(Iommu::Without)?;
    let lend_aware = module.is_lend_aware(none.domain)?;
    println!("{} Xen", if lend_aware { "lend-aware" } else { "stock" });
    let refusal = if lend_aware { 0 } else { libc::EXDEV };

    expect("a domain that can have no device", link(&module, &none)?, 0)?;
    let mut domain = BareDomain::create(Iommu::With)?;
    expect("a domain that may have one", link(&module, &domain)?, refusal)?;
    domain.assign(edu.address)?;
    expect("a domain that has one", link(&module, &domain)?, refusal)?;
    drop(domain);
    ensure!(module.status(none.domain)?.is_none(), "a link is left");
    expect("still the one that can have none", link(&module, &none)?, 0)
}
