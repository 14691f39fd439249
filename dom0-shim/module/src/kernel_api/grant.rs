// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pages of the rings, granted to the broker.

use core::ffi::c_void;
use core::ptr::NonNull;

use xenlend_protocol::ring::shared_page::{Direction, SharedRing};
use xenlend_protocol::ring::RingMemory;

use super::ffi;
use super::shared::Shared;
use crate::errno::{Errno, ENOMEM};

struct GrantedPage {
    page: NonNull<c_void>,
    reference: u32,
}

impl GrantedPage {
    fn new(remote: u16) -> Result<Self, Errno> {
        let mut reference = 0;
        // SAFETY: allocates, and writes the reference.
        let page = NonNull::new(unsafe { ffi::xenlend_grant_new(remote, &raw mut reference) });
        page.map(|page| Self { page, reference }).ok_or(ENOMEM)
    }
}

impl Drop for GrantedPage {
    fn drop(&mut self) {
        // SAFETY: the page came from `xenlend_grant_new` and is not used again here. The kernel
        // frees it when the other domain cannot touch it any more.
        unsafe { ffi::xenlend_grant_end(self.page.as_ptr(), self.reference) };
    }
}

/// The three pages of a link.
pub struct RingPages {
    control: GrantedPage,
    to_broker: GrantedPage,
    to_lender: GrantedPage,
}

// SAFETY: the pages are only touched through `SharedRing`, which is for any task.
unsafe impl Send for RingPages {}
// SAFETY: as above.
unsafe impl Sync for RingPages {}

impl RingPages {
    /// Allocates and grants them.
    pub fn new(broker: u16) -> Result<Self, Errno> {
        Ok(Self {
            control: GrantedPage::new(broker)?,
            to_broker: GrantedPage::new(broker)?,
            to_lender: GrantedPage::new(broker)?,
        })
    }

    /// Grant references in the order of the uAPI.
    pub fn references(&self) -> [u32; 3] {
        [self.control.reference, self.to_broker.reference, self.to_lender.reference]
    }
}

/// One ring, and the pages that it lies in.
pub struct OwnedRing {
    ring: SharedRing,
    _pages: Shared<RingPages>,
}

/// The rings over these pages: towards the broker, towards the lender. To be made once.
pub fn rings(pages: &Shared<RingPages>) -> (OwnedRing, OwnedRing) {
    let control = pages.control.page.as_ptr().cast::<u8>();
    let ring = |page: &GrantedPage, direction| {
        // SAFETY: both are whole zeroed pages of the kernel that only these rings access, and
        // each ring keeps them.
        let ring = unsafe { SharedRing::new(control, page.page.as_ptr().cast(), direction) };
        OwnedRing { ring, _pages: pages.clone() }
    };
    (ring(&pages.to_broker, Direction::ToBroker), ring(&pages.to_lender, Direction::ToLender))
}

impl RingMemory for OwnedRing {
    fn load_produced(&self) -> u32 {
        self.ring.load_produced()
    }
    fn store_produced(&self, value: u32) {
        self.ring.store_produced(value);
    }
    fn load_consumed(&self) -> u32 {
        self.ring.load_consumed()
    }
    fn store_consumed(&self, value: u32) {
        self.ring.store_consumed(value);
    }
    fn load_waiting(&self) -> bool {
        self.ring.load_waiting()
    }
    fn store_waiting(&self, waits: bool) {
        self.ring.store_waiting(waits);
    }
    fn read(&self, offset: u32, bytes: &mut [u8]) {
        self.ring.read(offset, bytes);
    }
    fn write(&self, offset: u32, bytes: &[u8]) {
        self.ring.write(offset, bytes);
    }
}
