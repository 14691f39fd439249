// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two tool calls that a broker may make for its borrower, and finding out their version.

use xenlend_xen_abi::domctl::{
    DomainInfo, Domctl, MemoryMapping, ADD_MAPPING, DOMINF_HVM_GUEST, GETDOMAININFO, MEMORY_MAPPING,
    REMOVE_MAPPING,
};
use xenlend_xen_abi::version::{domctl_version, XenVersion};
use xenlend_xen_abi::{errno, hypercall, DomainId};

use super::hypercall::call;
use crate::start_error::StartError;

/// Rights over one borrower, proven by a call.
#[derive(Clone, Copy, Debug)]
pub struct BorrowerControl {
    borrower: DomainId,
    version: u32,
}

impl BorrowerControl {
    /// Finds the interface version that belongs to this release and confirms it, and the rights over the
    /// borrower, by asking for the borrower's state.
    ///
    /// # Errors
    /// If the release is unknown, Xen refuses the version, or the rights are missing.
    pub fn probe(xen: XenVersion, borrower: DomainId) -> Result<Self, StartError> {
        let version =
            domctl_version(xen).ok_or(StartError::UnknownXen { major: xen.major, minor: xen.minor })?;
        let mut asked = Domctl::new(GETDOMAININFO, version, borrower);
        match perform(&mut asked) {
            Ok(_) => {}
            Err(errno::EACCES) => return Err(StartError::InterfaceVersion { version }),
            Err(errno) => return Err(StartError::NoRights { borrower, errno }),
        }
        if asked.payload::<DomainInfo>().flags & DOMINF_HVM_GUEST == 0 {
            return Err(StartError::Configuration("the borrower is no PVH or HVM domain"));
        }
        Ok(Self { borrower, version })
    }

    /// The interface version.
    pub fn version(self) -> u32 {
        self.version
    }

    /// Adds entries to the borrower's second stage: at most 64 in one call. Returns how many frames those
    /// were.
    ///
    /// # Errors
    /// Xen's error number, if not even the first entry could be added.
    pub fn add(self, gfn: u64, mfn: u64, frames: u64) -> Result<u64, u16> {
        self.map(gfn, mfn, frames, ADD_MAPPING)
    }

    /// Removes entries, as [`Self::add`].
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn remove(self, gfn: u64, mfn: u64, frames: u64) -> Result<u64, u16> {
        self.map(gfn, mfn, frames, REMOVE_MAPPING)
    }

    fn map(self, first_gfn: u64, first_mfn: u64, nr_mfns: u64, add_mapping: u32) -> Result<u64, u16> {
        let mapping = MemoryMapping { first_gfn, first_mfn, nr_mfns, add_mapping, padding: 0 };
        let mut asked = Domctl::with(MEMORY_MAPPING, self.version, self.borrower, &mapping);
        // 0 means all of them, any other number so many.
        match perform(&mut asked)? {
            0 => Ok(nr_mfns),
            done if done < nr_mfns => Ok(done),
            _ => Err(errno::EIO),
        }
    }
}

fn perform(asked: &mut Domctl) -> Result<u64, u16> {
    // SAFETY: both commands that are used here take the structure only; the borrower's memory changes,
    // this domain's does not.
    errno::check(unsafe { call(hypercall::DOMCTL, [(&raw mut *asked) as u64, 0, 0, 0, 0]) })
}
