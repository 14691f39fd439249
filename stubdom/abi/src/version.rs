// SPDX-License-Identifier: MIT OR Apache-2.0
//! `XENVER_*` (`public/version.h`), and the releases of Xen that are supported.

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

/// The releases that xenlend supports, for messages. The lab runs 4.20; of the others the headers and the code
/// that lending depends on were read.
pub const SUPPORTED: &str = "4.17 to 4.22";

/// The domctl interface version of a supported release; `None` for any other: domctl is not a stable interface.
/// The commands and structures in use are the same in all of them. A harmless call has to confirm the version,
/// since distributions backport.
pub const fn domctl_version(xen: XenVersion) -> Option<u32> {
    match (xen.major, xen.minor) {
        (4, 17) => Some(0x15),
        (4, 18) => Some(0x16),
        (4, 19..=21) => Some(0x17),
        (4, 22) => Some(0x18),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_supported_releases_have_an_interface_version() {
        let of = |major, minor| domctl_version(XenVersion { major, minor });
        assert_eq!(of(4, 16), None);
        assert_eq!(of(4, 17), Some(0x15));
        assert_eq!(of(4, 18), Some(0x16));
        assert_eq!(of(4, 21), Some(0x17));
        assert_eq!(of(4, 22), Some(0x18));
        assert_eq!(of(4, 23), None);
        assert_eq!(of(5, 17), None);
    }

    #[test]
    fn the_text_names_the_first_and_the_last_of_them() {
        let supported = |minor: &u16| domctl_version(XenVersion { major: 4, minor: *minor }).is_some();
        let minors: Vec<u16> = (0..=u16::MAX).filter(supported).collect();
        assert_eq!(format!("4.{} to 4.{}", minors[0], minors[minors.len() - 1]), SUPPORTED);
        assert!(minors.windows(2).all(|pair| pair[1] == pair[0] + 1), "{minors:?}");
    }
}
