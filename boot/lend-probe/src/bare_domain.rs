// SPDX-License-Identifier: MIT OR Apache-2.0
//! An HVM domain with a little memory, made by hand, that may have devices and never runs: libxl makes none without a
//! device model.

use anyhow::{Context, Result};

use crate::hypercall::{Hypercalls, Page};

const CREATE_DOMAIN: u32 = 1;
const DESTROY_DOMAIN: u32 = 2;
const MAX_MEM: u32 = 11;
const MAX_VCPUS: u32 = 15;
const IOMEM_PERMISSION: u32 = 20;
const ASSIGN_DEVICE: u32 = 37;
const MEMORY_MAPPING: u32 = 39;
const SET_PAGING_MEMPOOL_SIZE: u32 = 86;

/// HVM, hardware-assisted paging.
const FLAGS: u32 = 1 << 0 | 1 << 1;
const FLAG_IOMMU: u32 = 1 << 5;
/// All of Xen's emulated devices but virtual PCI and interrupts as events: what libxl gives an HVM guest.
const EMULATION: u32 = 0x1FF;
const EVENT_CHANNELS: u32 = 64;
const GRANT_FRAMES: u32 = 4;
const GRANT_VERSION: u32 = 1;
const MEMORY_KIB: u32 = 1024;
const POOL_BYTES: u32 = 4 << 20;

/// Whether a domain can have devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Iommu {
    /// It can.
    With,
    /// It never can.
    Without,
}

/// The domain. It ends with this.
#[derive(Debug)]
pub struct BareDomain {
    /// Its number.
    pub domain: u16,
    calls: Hypercalls,
}

impl BareDomain {
    /// A new one, without memory.
    pub fn create(iommu: Iommu) -> Result<Self> {
        let flags = if iommu == Iommu::With { FLAGS | FLAG_IOMMU } else { FLAGS };
        let mut calls = Hypercalls::open()?;
        let handle = [0x6475_6500; 4];
        let mut payload = vec![0];
        payload.extend(handle);
        payload.extend([flags, 0, 1, EVENT_CHANNELS, GRANT_FRAMES, GRANT_FRAMES, GRANT_VERSION]);
        // No altp2m, no trace, the first pool of CPUs.
        payload.extend([0, 0, 0, EMULATION, 0]);
        let domain = calls.domctl(CREATE_DOMAIN, 0, &payload).context("createdomain")?;
        let mut this = Self { domain, calls };
        this.call("max_mem", MAX_MEM, &[MEMORY_KIB, 0])?;
        this.call("set_paging_mempool_size", SET_PAGING_MEMPOOL_SIZE, &[POOL_BYTES, 0])?;
        this.call("max_vcpus", MAX_VCPUS, &[1])?;
        Ok(this)
    }

    fn call(&mut self, name: &'static str, command: u32, payload: &[u32]) -> Result<()> {
        self.calls.domctl(command, self.domain, payload).context(name)?;
        Ok(())
    }

    /// Gives it a PCI device: from now on the device's addresses are this domain's.
    pub fn assign(&mut self, device: u32) -> Result<()> {
        self.call("assign_device", ASSIGN_DEVICE, &[0, 0, device])
    }

    /// Maps a frame of the machine to one of its own, or takes it away, as stock Xen offers it.
    pub fn map(&mut self, frame: u64, machine: u64, add: bool) -> Result<()> {
        let words = |number: u64| [number as u32, (number >> 32) as u32];
        let (machine, one) = (words(machine), words(1));
        self.call("iomem_permission", IOMEM_PERMISSION, &[&machine[..], &one, &words(1)].concat())?;
        let mapping = [&words(frame)[..], &machine, &one, &words(u64::from(add))].concat();
        self.call("memory_mapping", MEMORY_MAPPING, &mapping)
    }

    /// A new page of its memory, mapped here too.
    pub fn page(&mut self, frame: u64) -> Result<Page> {
        self.calls.populate(self.domain, &[frame])?;
        self.calls.map_foreign(self.domain, frame)
    }
}

impl Drop for BareDomain {
    fn drop(&mut self) {
        if let Err(error) = self.call("destroydomain", DESTROY_DOMAIN, &[]) {
            println!("{error:#}");
        }
    }
}
