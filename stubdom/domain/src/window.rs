// SPDX-License-Identifier: MIT OR Apache-2.0
//! The window: a hole in the domain's address space where pages appear that Xen or other domains share
//! with it. Its page-table entries exist from the start; only the second stage changes.

use xenlend_xen_abi::PAGE_SIZE;

use crate::start_error::StartError;
use crate::start_info::Boot;

/// Lowest place of the window: far above the 16 MiB that a broker is given.
const LOWEST: u64 = 64 << 20;
/// Highest end: below the area that Xen keeps for its own pages and devices.
const HIGHEST: u64 = 1 << 30;
/// Bytes: one page table.
pub const WINDOW_BYTES: u64 = 2 << 20;

/// Frames of the window that have not been handed out.
#[derive(Debug)]
pub struct Window {
    next: u64,
    end: u64,
}

/// One frame of the window. Which page appears there, if any, is the owner's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowFrame {
    address: u64,
}

impl Window {
    /// Finds a hole in the memory map.
    ///
    /// # Errors
    /// If there is none.
    pub fn find(boot: &Boot) -> Result<Self, StartError> {
        (LOWEST..HIGHEST)
            .step_by(WINDOW_BYTES as usize)
            .find(|&start| boot.is_hole(start, start + WINDOW_BYTES))
            .map(|start| Self { next: start, end: start + WINDOW_BYTES })
            .ok_or(StartError::Memory("no hole of 2 MiB between 64 MiB and 1 GiB"))
    }

    /// The whole window: first byte, and one past the last. To be asked before frames are taken.
    pub fn span(&self) -> (u64, u64) {
        (self.next, self.end)
    }

    /// Hands out the next frame, for good.
    ///
    /// # Errors
    /// If all have been handed out.
    pub fn take(&mut self) -> Result<WindowFrame, StartError> {
        if self.next == self.end {
            return Err(StartError::Memory("the window is used up"));
        }
        let frame = WindowFrame { address: self.next };
        self.next += PAGE_SIZE;
        Ok(frame)
    }
}

impl WindowFrame {
    /// Its number.
    pub fn gfn(self) -> u64 {
        self.address / PAGE_SIZE
    }

    /// Where its first byte is.
    pub fn pointer(self) -> *mut u8 {
        self.address as *mut u8
    }

    /// Its physical address, which is its virtual one too.
    pub fn address(self) -> u64 {
        self.address
    }
}
