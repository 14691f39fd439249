// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a lender process has: a descriptor bound to one borrower, areas, and regions made of them.

use std::collections::HashMap;

use anyhow::{bail, Context, Result};
use xenlend::{BorrowerFd, Counters, Device, Label, Region, Status};
use xenlend_touch::control::Control;
use xenlend_touch::memory::Memory;

use crate::area::Area;

/// The state of a lender process.
#[derive(Debug, Default)]
pub struct Lender {
    descriptor: Option<BorrowerFd>,
    areas: HashMap<String, Area>,
}

impl Lender {
    /// Binds to a borrower.
    pub fn bind(&mut self, borrower: u16) -> Result<()> {
        let device = Device::open().context(xenlend::DEVICE_PATH)?;
        self.descriptor = Some(device.bind(borrower).context("XENLEND_BIND")?);
        Ok(())
    }

    /// Closes the descriptor; the areas stay.
    pub fn close(&mut self) -> Result<()> {
        self.descriptor.take().map(drop).context("not bound")
    }

    /// The bound descriptor.
    pub fn descriptor(&self) -> Result<&BorrowerFd> {
        self.descriptor.as_ref().context("not bound")
    }

    /// State and counters of the link.
    pub fn status(&self) -> Result<Status> {
        self.descriptor()?.status().context("XENLEND_STATUS")
    }

    /// Counters of the link.
    pub fn counters(&self) -> Result<Counters> {
        Ok(self.status()?.counters)
    }

    /// Takes an area in.
    pub fn add(&mut self, name: &str, area: Area) -> Result<()> {
        if self.areas.contains_key(name) {
            bail!("there is an area {name} already");
        }
        self.areas.insert(name.to_owned(), area);
        Ok(())
    }

    /// An area.
    pub fn area(&self, name: &str) -> Result<&Area> {
        self.areas.get(name).with_context(|| format!("no area {name}"))
    }

    /// Memory of an area.
    pub fn memory(&self, name: &str) -> Result<Memory> {
        Ok(self.area(name)?.memory())
    }

    /// The control area in an area.
    pub fn control(&self, name: &str) -> Result<Control> {
        Ok(Control::new(self.memory(name)?))
    }

    /// Lends a part of an area at an offset of the aperture.
    pub fn lend(
        &self,
        slot: u32,
        name: &str,
        (start, bytes): (usize, usize),
        offset: u64,
        flags: u32,
        label: Label,
    ) -> Result<()> {
        let area = self.area(name)?;
        let region = Region {
            slot,
            flags,
            guest_phys_addr: self.status()?.aperture_address + offset,
            memory_size: bytes as u64,
            userspace_addr: area.window().address() + start as u64,
            label,
        };
        self.set(&region)
    }

    /// Asks for a region just as it is given.
    pub fn set(&self, region: &Region) -> Result<()> {
        // SAFETY: this program reaches what it lends through `Memory` only, which makes no references.
        unsafe { self.descriptor()?.set_region(region) }.context("XENLEND_SET_USER_MEMORY_REGION")
    }
}
