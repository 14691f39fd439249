// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extents: runs of frames, as claimed by a peer and as checked.

use serde::{Deserialize, Serialize};

use crate::frame::{AperturePage, Mfn};

/// A run of frames as a peer wrote it: nothing about it has been checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimedExtent {
    /// First page of the aperture.
    pub page: AperturePage,
    /// First machine frame.
    pub mfn: Mfn,
    /// Number of frames.
    pub count: u32,
}
