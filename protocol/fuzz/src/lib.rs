// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the fuzz targets do with their bytes, and what must hold whatever these are.

pub mod broker;
pub mod driver;
mod driver_support;
pub mod ioreq;
pub mod lender_link;
mod lending_support;
pub mod ring;
mod shim_support;
pub mod uapi;
pub mod wire;
pub mod xenstore;

/// Bytes that a hostile end goes on sending: zeros when there are no more.
pub struct Stream<'a>(pub &'a [u8]);

impl Stream<'_> {
    /// Whether there are no more.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next ones.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (head, rest) = self.0.split_at(self.0.len().min(N));
        taken[..head.len()].copy_from_slice(head);
        self.0 = rest;
        taken
    }

    /// The next one.
    pub fn byte(&mut self) -> u8 {
        self.take::<1>()[0]
    }
}
