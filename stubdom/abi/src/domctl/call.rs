// SPDX-License-Identifier: MIT OR Apache-2.0
//! `struct xen_domctl` and the payloads in use.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::DomainId;

/// Bytes of the union of all payloads.
pub const PAYLOAD_BYTES: usize = 128;

/// `struct xen_domctl`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct Domctl {
    /// One of the commands of `domctl.rs`.
    pub cmd: u32,
    /// Must equal Xen's.
    pub interface_version: u32,
    /// The domain acted on.
    pub domain: DomainId,
    pad: [u16; 3],
    /// The union: the bytes of one of the payloads, the rest zero.
    pub payload: [u8; PAYLOAD_BYTES],
}

/// `struct xen_domctl_memory_mapping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MemoryMapping {
    /// First frame in the domain's physmap.
    pub first_gfn: u64,
    /// First machine frame.
    pub first_mfn: u64,
    /// Number of frames, more than 0. Xen does at most 64 entries in one call and returns how many
    /// frames those were.
    pub nr_mfns: u64,
    /// `ADD_MAPPING` or `REMOVE_MAPPING`.
    pub add_mapping: u32,
    /// Zero.
    pub padding: u32,
}

/// `struct xen_domctl_iomem_permission`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IomemPermission {
    /// First machine frame.
    pub first_mfn: u64,
    /// Number of frames, more than 0.
    pub nr_mfns: u64,
    /// 0 denies, anything else allows.
    pub allow_access: u8,
    /// Zero.
    pub padding: [u8; 7],
}

/// `struct xen_domctl_set_target`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetTarget {
    /// The domain that the other one may emulate devices for.
    pub target: DomainId,
}

/// The head of `struct xen_domctl_getdomaininfo`; what follows it changes between releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DomainInfo {
    /// The domain found.
    pub domain: DomainId,
    /// Not used.
    pub pad1: u16,
    /// `DOMINF_*`.
    pub flags: u32,
}

impl Domctl {
    /// A call without payload.
    pub const fn new(cmd: u32, interface_version: u32, domain: DomainId) -> Self {
        Self { cmd, interface_version, domain, pad: [0; 3], payload: [0; PAYLOAD_BYTES] }
    }

    /// A call with this payload.
    pub fn with<P: IntoBytes + Immutable>(
        cmd: u32,
        interface_version: u32,
        domain: DomainId,
        payload: &P,
    ) -> Self {
        let mut call = Self::new(cmd, interface_version, domain);
        const { assert!(size_of::<P>() <= PAYLOAD_BYTES) };
        for (to, from) in call.payload.iter_mut().zip(payload.as_bytes()) {
            *to = *from;
        }
        call
    }

    /// The payload as Xen has written it.
    pub fn payload<P: FromBytes + IntoBytes + FromZeros>(&self) -> P {
        const { assert!(size_of::<P>() <= PAYLOAD_BYTES) };
        let mut payload = P::new_zeroed();
        for (to, from) in payload.as_mut_bytes().iter_mut().zip(&self.payload) {
            *to = *from;
        }
        payload
    }
}

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<Domctl>() == 144 && offset_of!(Domctl, payload) == 16);
    assert!(size_of::<MemoryMapping>() == 32 && size_of::<IomemPermission>() == 24);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domctl::MEMORY_MAPPING;

    #[test]
    fn payload_lands_where_xen_reads_it() {
        let mapping =
            MemoryMapping { first_gfn: 0x11, first_mfn: 0x22, nr_mfns: 3, add_mapping: 1, padding: 0 };
        let call = Domctl::with(MEMORY_MAPPING, 0x17, 7, &mapping);
        let bytes = call.as_bytes();
        assert_eq!(bytes[0..10], [39, 0, 0, 0, 0x17, 0, 0, 0, 7, 0]);
        assert_eq!(bytes[16..24], 0x11u64.to_le_bytes());
        assert_eq!(bytes[40..44], 1u32.to_le_bytes());
        assert!(bytes[48..].iter().all(|&byte| byte == 0));
        assert_eq!(call.payload::<MemoryMapping>(), mapping);
    }
}
