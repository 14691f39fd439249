// SPDX-License-Identifier: MIT OR Apache-2.0
//! Views of the borrower's own RAM, for string instructions between it and the aperture. A few pages are
//! kept until the borrower changes its physmap.

use core::sync::atomic::{AtomicU8, Ordering};

use xenlend_xen_abi::{DomainId, PAGE_SIZE};

use super::physmap;
use crate::start_error::StartError;
use crate::trace::{record, Event};
use crate::window::{Window, WindowFrame};

/// Pages kept.
const VIEWS: usize = 8;

#[derive(Clone, Copy)]
struct View {
    at: WindowFrame,
    gfn: Option<u64>,
}

/// The views.
pub struct ForeignMemory {
    borrower: DomainId,
    views: [View; VIEWS],
    oldest: usize,
}

impl ForeignMemory {
    /// No view yet.
    ///
    /// # Errors
    /// If the window has no room.
    pub fn new(borrower: DomainId, window: &mut Window) -> Result<Self, StartError> {
        let mut views = [View { at: window.take()?, gfn: None }; VIEWS];
        for view in views.iter_mut().skip(1) {
            view.at = window.take()?;
        }
        Ok(Self { borrower, views, oldest: 0 })
    }

    /// Copies out of the borrower's RAM. The bytes do not cross a page.
    ///
    /// # Errors
    /// Xen's error number, if the borrower has no RAM there.
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), u16> {
        let view = self.view(address, bytes.len())?;
        for (byte, shared) in bytes.iter_mut().zip(view) {
            *byte = shared.load(Ordering::Relaxed);
        }
        Ok(())
    }

    /// Copies into the borrower's RAM. The bytes do not cross a page.
    ///
    /// # Errors
    /// Xen's error number, if the borrower has no RAM there.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), u16> {
        let view = self.view(address, bytes.len())?;
        for (byte, shared) in bytes.iter().zip(view) {
            shared.store(*byte, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Ends every view.
    pub fn forget(&mut self) {
        for view in &mut self.views {
            if view.gfn.take().is_some() {
                // Nothing can be done about a refusal; the frame is reused for the next view anyway.
                let _ = physmap::empty(view.at);
            }
        }
    }

    /// The borrower's bytes from this address on.
    fn view(&mut self, address: u64, length: usize) -> Result<&[AtomicU8], u16> {
        let offset = (address % PAGE_SIZE) as usize;
        assert!(offset + length <= PAGE_SIZE as usize, "{length} bytes at {address:#x} cross a page");
        let at = self.find_or_map(address / PAGE_SIZE)?;
        // SAFETY: the page stays shown while `self` is borrowed, and the span is inside it. The borrower
        // writes it at any time, which atomics allow.
        Ok(unsafe { core::slice::from_raw_parts(at.pointer().add(offset).cast::<AtomicU8>(), length) })
    }

    fn find_or_map(&mut self, gfn: u64) -> Result<WindowFrame, u16> {
        if let Some(view) = self.views.iter().find(|view| view.gfn == Some(gfn)) {
            return Ok(view.at);
        }
        let view = &mut self.views[self.oldest];
        if view.gfn.take().is_some() {
            let _ = physmap::empty(view.at);
        }
        physmap::show_foreign(self.borrower, gfn, view.at)
            .inspect_err(|&errno| record(Event::BorrowerMemory, gfn, u64::from(errno)))?;
        view.gfn = Some(gfn);
        self.oldest = (self.oldest + 1) % VIEWS;
        Ok(view.at)
    }
}
