// SPDX-License-Identifier: MIT OR Apache-2.0
//! What borrower, lender and host of the scenarios share: how lent bytes are written so that every
//! one of them can be judged, and how the two sides take turns.

pub mod aperture;
pub mod control;
pub mod driven;
pub mod event_channel;
pub mod hunted;
pub mod line;
pub mod memory;
pub mod nonce;
pub mod picture;
pub mod player;
pub mod random;
pub mod sparse;
pub mod times;
