// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XENVER_*` (`public/version.h`).

/// `XENVER_version`.
pub const VERSION: u32 = 0;

/// Xen's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XenVersion {
    /// 4 in 4.20.
    pub major: u16,
    /// 20 in 4.20.
    pub minor: u16,
}

impl XenVersion {
    /// Decodes what `XENVER_version` returns.
    pub const fn decode(value: u64) -> Self {
        Self { major: (value >> 16) as u16, minor: value as u16 }
    }
}
