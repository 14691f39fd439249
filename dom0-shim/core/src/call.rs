// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which call an ioctl number names, and how its structure grows.
//!
//! The number of a call has the size of its structure in it. Only direction, magic and the number proper say
//! which call it is; the size says which of its versions the caller was compiled with. Structures grow at their
//! end, and a field that is 0 means what there was before it. So an old program's short structure is taken as
//! if zeros followed it, and is given as much of the answer as it has room for; of a new program's long one the
//! rest has to be zeros, for nobody here knows what else it would mean.

use crate::counters::COUNT;
use crate::events;
use crate::kind::Kind;
use crate::regions::MAX_REGIONS;
use crate::uapi::{self, REGION_LOSS_FAULT, REGION_READONLY, REGION_WRITE_BACK};

/// `XENLEND_API_VERSION`
pub const API_VERSION: u32 = 2;
/// The oldest version whose programs go on working.
pub const OLDEST_API_VERSION: u32 = 2;

const READ: u32 = 2;
const WRITE: u32 = 1;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `XENLEND_ATTACH`
    Attach,
    /// `XENLEND_DETACH`
    Detach,
    /// `XENLEND_ALLOW_BAR`
    AllowBar,
    /// `XENLEND_BIND`
    Bind,
    /// `XENLEND_STATUS`
    Status,
    /// `XENLEND_SET_USER_MEMORY_REGION`
    Region,
    /// `XENLEND_ATTACH_FRONTEND`
    AttachFrontend,
    /// `XENLEND_DETACH_FRONTEND`
    DetachFrontend,
    /// `XENLEND_SET_USER_MEMORY_REGION2`
    Region2,
    /// `XENLEND_GET_REGION`
    GetRegion,
    /// `XENLEND_RESOLVE`
    Resolve,
    /// `XENLEND_XEN`
    Xen,
    /// `XENLEND_VERSION`
    Version,
    /// `XENLEND_CAPABILITY`
    Capability,
}

impl Call {
    /// The call of an ioctl number, and the bytes of the caller's structure. `None` if there is none, or if the
    /// structure is shorter than any has been.
    pub fn of(request: u32) -> Option<(Self, usize)> {
        let (direction, bytes) = (request >> 30, (request >> 16 & 0x3fff) as usize);
        if request >> 8 & 0xff != uapi::MAGIC {
            return None;
        }
        // Direction and first size; those never change.
        let (call, first_direction, first_bytes) = match request & 0xff {
            0x10 => (Self::Attach, READ | WRITE, 48),
            0x11 => (Self::Detach, WRITE, 8),
            0x12 => (Self::AllowBar, READ | WRITE, 24),
            0x13 => (Self::Bind, WRITE, 8),
            0x14 => (Self::Status, READ | WRITE, 256),
            0x15 => (Self::Region, WRITE, 32),
            0x16 => (Self::AttachFrontend, READ | WRITE, 32),
            0x17 => (Self::DetachFrontend, WRITE, 8),
            0x18 => (Self::Region2, WRITE, 64),
            0x19 => (Self::GetRegion, READ | WRITE, 64),
            0x1c => (Self::Resolve, WRITE, 24),
            0x20 => (Self::Xen, READ | WRITE, 8),
            0x21 => (Self::Version, READ | WRITE, 8),
            0x22 => (Self::Capability, READ | WRITE, 16),
            _ => return None,
        };
        (direction == first_direction && bytes >= first_bytes).then_some((call, bytes))
    }
}

/// The answer to `XENLEND_CAPABILITY`: what there is of it, 0 of what nobody here has heard of. `kind` is of the
/// borrower's Xen, where one is known.
pub fn capability(number: u32, kind: Option<Kind>) -> u64 {
    match number {
        1 => MAX_REGIONS as u64,
        2 => xenlend_protocol::label::LABEL_FIELD_BYTES as u64,
        3 => {
            let all = REGION_READONLY | REGION_LOSS_FAULT | REGION_WRITE_BACK;
            u64::from(all & !kind.map_or(0, Kind::unsupported_flags))
        }
        4 => u64::from(events::LAST),
        5 => COUNT as u64,
        // `XENLEND_RESOLVE` is known.
        6 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_by_number_and_direction_whatever_its_size_has_grown_to() {
        assert_eq!(Call::of(uapi::STATUS), Some((Call::Status, uapi::STATUS_BYTES)));
        let grown = |request: u32, bytes: u32| request & !(0x3fff << 16) | bytes << 16;
        assert_eq!(Call::of(grown(uapi::STATUS, 256)), Some((Call::Status, 256)));
        assert_eq!(Call::of(grown(uapi::STATUS, 0x3fff)), Some((Call::Status, 0x3fff)));
        assert_eq!(Call::of(grown(uapi::STATUS, 255)), None, "none was that short");
        assert_eq!(Call::of(grown(uapi::ATTACH, 47)), None);
        assert_eq!(Call::of(uapi::STATUS & !(1 << 31)), None, "another direction");
        assert_eq!(Call::of(uapi::STATUS & !0xff00), None, "another device's");
        assert_eq!(Call::of(uapi::STATUS | 0xff), None);
    }

    #[test]
    fn capabilities_are_what_there_is() {
        assert_eq!(capability(1, None), 64);
        assert_eq!(capability(2, None), 32);
        assert_eq!(capability(3, None), 0x302);
        assert_eq!(capability(3, Some(Kind::Stock)), 0x100);
        assert_eq!(capability(3, Some(Kind::LendAware)), 0x302);
        assert_eq!(capability(6, None), 1);
        assert_eq!(capability(0, None), 0);
        assert_eq!(capability(u32::MAX, Some(Kind::Stock)), 0);
    }
}
