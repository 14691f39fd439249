// SPDX-License-Identifier: MIT OR Apache-2.0
//! `struct xen_domctl`, as far as the lender needs it.
//!
//! Layouts: Xen's `xen/include/public/domctl.h`, alike in all supported releases. The interface is
//! not stable: an unknown version is refused.

use xenlend_protocol::frame::Mfn;
use xenlend_xen_abi::domctl::{
    DESTROYDOMAIN, GETDOMAININFO, GET_DEVICE_GROUP, IOMEM_PERMISSION, MEMORY_MAPPING, PAUSEDOMAIN,
    SET_TARGET, UNPAUSEDOMAIN,
};
use xenlend_xen_abi::version::{domctl_version, XenVersion};

/// `HYPERVISOR_domctl`
pub const HYPERCALL: u32 = 36;
/// Words of the buffer: header and union are 18, and a little more costs nothing.
pub const WORDS: usize = 32;

/// Words of the header before the union.
const HEADER_WORDS: usize = 2;

/// Flags of `xen_domctl_getdomaininfo`.
pub const INFO_DYING: u32 = 1 << 0;
/// PVH or HVM.
pub const INFO_HVM: u32 = 1 << 1;
/// Shut down or crashed.
pub const INFO_SHUTDOWN: u32 = 1 << 2;

/// Interface version of a Xen, or `None` if it is no supported release.
pub fn interface_version(xen_major: u32, xen_minor: u32) -> Option<u32> {
    domctl_version(XenVersion {
        major: u16::try_from(xen_major).ok()?,
        minor: u16::try_from(xen_minor).ok()?,
    })
}

/// A filled-in call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domctl {
    /// The buffer that Xen reads and writes.
    pub words: [u64; WORDS],
}

/// What `getdomaininfo` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// The domain that it is about.
    pub dom_id: u16,
    /// `INFO_*`
    pub flags: u32,
    /// Highest vCPU number; `u32::MAX` for none.
    pub max_vcpu_id: u32,
}

/// Makes calls of one interface version.
#[derive(Clone, Copy, Debug)]
pub struct Interface {
    version: u32,
}

impl Interface {
    /// For that `XEN_DOMCTL_INTERFACE_VERSION`.
    pub fn new(version: u32) -> Self {
        Self { version }
    }

    fn call(self, command: u32, dom_id: u16, union: &[u64]) -> Domctl {
        let mut words = [0; WORDS];
        let header = [u64::from(command) | u64::from(self.version) << 32, u64::from(dom_id)];
        for (cell, value) in words.iter_mut().zip(header.iter().chain(union)) {
            *cell = *value;
        }
        Domctl { words }
    }

    /// `XEN_DOMCTL_destroydomain`
    pub fn destroy(self, dom_id: u16) -> Domctl {
        self.call(DESTROYDOMAIN, dom_id, &[])
    }

    /// `XEN_DOMCTL_pausedomain`: returns when no vCPU of it runs.
    pub fn pause(self, dom_id: u16) -> Domctl {
        self.call(PAUSEDOMAIN, dom_id, &[])
    }

    /// `XEN_DOMCTL_unpausedomain`
    pub fn unpause(self, dom_id: u16) -> Domctl {
        self.call(UNPAUSEDOMAIN, dom_id, &[])
    }

    /// `XEN_DOMCTL_getdomaininfo`
    pub fn get_info(self, dom_id: u16) -> Domctl {
        self.call(GETDOMAININFO, dom_id, &[])
    }

    /// `XEN_DOMCTL_iomem_permission`
    pub fn iomem_permission(self, dom_id: u16, first: Mfn, count: u64, allow: bool) -> Domctl {
        self.call(IOMEM_PERMISSION, dom_id, &[first.0, count, u64::from(allow)])
    }

    /// `XEN_DOMCTL_memory_mapping`, removing. Xen finds the entries by gfn; the frame
    /// is checked for permission.
    pub fn remove_mapping(self, dom_id: u16, gfn: u64, mfn: Mfn, count: u64) -> Domctl {
        self.call(MEMORY_MAPPING, dom_id, &[gfn, mfn.0, count, 0])
    }

    /// `XEN_DOMCTL_set_target`: gives `dom_id` the rights of a device model over `target`.
    pub fn set_target(self, dom_id: u16, target: u16) -> Domctl {
        self.call(SET_TARGET, dom_id, &[u64::from(target)])
    }

    /// `XEN_DOMCTL_get_device_group`, for the devices beside the machine's first one and with room for none of
    /// them: of interest is only that Xen answers `EOPNOTSUPP` for a domain that cannot have any.
    pub fn get_device_group(self, dom_id: u16) -> Domctl {
        self.call(GET_DEVICE_GROUP, dom_id, &[])
    }
}

impl Domctl {
    /// The answer to [`Interface::get_info`].
    pub fn info(&self) -> DomainInfo {
        let word = |index: usize| self.words.get(HEADER_WORDS.saturating_add(index)).copied().unwrap_or(0);
        DomainInfo {
            dom_id: word(0) as u16,
            flags: (word(0) >> 32) as u32,
            max_vcpu_id: (word(8) >> 32) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_versions_are_refused() {
        assert_eq!(interface_version(4, 16), None);
        assert_eq!(interface_version(4, 17), Some(0x15));
        assert_eq!(interface_version(4, 20), Some(0x17));
        assert_eq!(interface_version(4, 22), Some(0x18));
        assert_eq!(interface_version(4, 23), None);
        assert_eq!(interface_version(5, 20), None);
        assert_eq!(interface_version(4, 0x1_0014), None);
    }

    #[test]
    fn calls_have_the_layout_of_domctl_h() {
        let call = Interface::new(0x17).iomem_permission(7, Mfn(0xabc), 3, true);
        let mut bytes = Vec::new();
        for word in call.words {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        assert_eq!(bytes[0..4], 20u32.to_le_bytes());
        assert_eq!(bytes[4..8], 0x17u32.to_le_bytes());
        assert_eq!(bytes[8..16], [7, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[16..24], 0xabcu64.to_le_bytes());
        assert_eq!(bytes[24..32], 3u64.to_le_bytes());
        assert_eq!(bytes[32], 1);
        let call = Interface::new(0x17).remove_mapping(9, 0x4_0000, Mfn(5), 512);
        assert_eq!(call.words[0], 0x17_0000_0000 + 39);
        assert_eq!(call.words[2..6], [0x4_0000, 5, 512, 0]);
        let call = Interface::new(0x17).get_device_group(9);
        assert_eq!(call.words[..2], [0x17_0000_0000 + 50, 9]);
        assert!(call.words[2..].iter().all(|word| *word == 0), "no device is asked for and no list is named");
    }

    #[test]
    fn info_is_read_where_xen_writes_it() {
        let mut answer = Interface::new(0x17).get_info(5);
        answer.words[2] = 5 | 0x0003 << 32;
        answer.words[10] = 2 | 1 << 32;
        let info = answer.info();
        assert_eq!((info.dom_id, info.flags, info.max_vcpu_id), (5, INFO_DYING | INFO_HVM, 1));
    }
}
