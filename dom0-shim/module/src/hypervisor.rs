// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls to Xen that the lender makes, with their results told apart.

use xenlend_protocol::frame::Mfn;
use xenlend_shim_core::dm_op::DmOp;
use xenlend_shim_core::domctl::{
    interface_version, DomainInfo, Domctl, Interface, INFO_DYING, INFO_SHUTDOWN,
};
use xenlend_shim_core::frames::DmOps;
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::removal::Removed;

use crate::errno::{Errno, EACCES, EINVAL, ENOENT, ENOSYS, ENXIO, EOPNOTSUPP, EPERM, EPROTO, ESRCH};
use crate::kernel_api::xen;

/// Makes calls of the running Xen's interface version.
#[derive(Clone, Copy)]
pub struct Hypervisor {
    interface: Interface,
}

fn result(value: i64) -> Result<u64, Errno> {
    u64::try_from(value).map_err(|_| Errno::from_xen(value))
}

impl Hypervisor {
    /// Looks at the running Xen.
    ///
    /// # Errors
    /// `ENXIO`, `EOPNOTSUPP` or `EPROTO`, as the uAPI says.
    pub fn probe() -> Result<Self, Errno> {
        if !xen::is_domain() {
            return Err(ENXIO);
        }
        if !xen::is_control_domain() {
            return Err(EOPNOTSUPP);
        }
        let (major, minor) = xen::version();
        let version = interface_version(major, minor).ok_or(EPROTO)?;
        let this = Self { interface: Interface::new(version) };
        // The version is the toolstack's word for it; only a call shows that Xen agrees.
        match this.info(0) {
            Err(EACCES) => Err(EPROTO),
            Err(EPERM) => Err(ENXIO),
            Err(error) => Err(error),
            Ok(_) => Ok(this),
        }
    }

    fn call(mut call: Domctl) -> Result<u64, Errno> {
        result(xen::domctl(&mut call))
    }

    /// `ENOENT` if there is no such domain.
    pub fn info(self, dom_id: u16) -> Result<DomainInfo, Errno> {
        let mut call = self.interface.get_info(dom_id);
        match result(xen::domctl(&mut call)) {
            Ok(_) if call.info().dom_id == dom_id => Ok(call.info()),
            Ok(_) | Err(ESRCH) => Err(ENOENT),
            Err(error) => Err(error),
        }
    }

    /// Whether a domain has died, or is about to.
    pub fn is_gone(self, dom_id: u16) -> bool {
        match self.info(dom_id) {
            Ok(info) => info.flags & (INFO_DYING | INFO_SHUTDOWN) != 0,
            Err(error) => error == ENOENT,
        }
    }

    /// Whether there is nothing left of a domain that could touch memory.
    pub fn is_dying(self, dom_id: u16) -> bool {
        match self.info(dom_id) {
            Ok(info) => info.flags & INFO_DYING != 0,
            Err(error) => error == ENOENT,
        }
    }

    /// What this Xen can do for a borrower. Stock Xen maps by the machine's frames, which only a PV lender has:
    /// `EOPNOTSUPP` for another. `EPROTO` for a Xen whose patches are another version's.
    pub fn kind(self, borrower: u16) -> Result<Kind, Errno> {
        let mut call = DmOp::query(borrower);
        let mut calls = self;
        match calls.dm_op(&mut call).map_err(Errno) {
            Ok(()) => Kind::of(Some(call.answer().features)).map_err(|_| EPROTO),
            Err(EOPNOTSUPP) if xen::is_pv_domain() => Ok(Kind::Stock),
            Err(error) => Err(error),
        }
    }

    /// Whether a domain may have devices of the machine: that is decided when it is made.
    pub fn may_have_devices(self, dom_id: u16) -> Result<bool, Errno> {
        match Self::call(self.interface.get_device_group(dom_id)) {
            Ok(_) => Ok(true),
            // No IOMMU for this domain; a Xen that can give devices to nobody.
            Err(EOPNOTSUPP | ENOSYS) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns when no vCPU of the domain runs.
    pub fn pause(self, dom_id: u16) -> Result<(), Errno> {
        Self::call(self.interface.pause(dom_id)).map(drop)
    }

    /// Undoes one [`Self::pause`].
    pub fn unpause(self, dom_id: u16) -> Result<(), Errno> {
        Self::call(self.interface.unpause(dom_id)).map(drop)
    }

    /// Ends a domain.
    pub fn destroy(self, dom_id: u16) -> Result<(), Errno> {
        Self::call(self.interface.destroy(dom_id)).map(drop)
    }

    /// Gives a domain the rights of a device model over another, once in its life.
    pub fn set_target(self, dom_id: u16, target: u16) -> Result<(), Errno> {
        Self::call(self.interface.set_target(dom_id, target)).map(drop)
    }

    /// Gives or takes the permission to have frames mapped.
    pub fn permit(self, dom_id: u16, first: Mfn, count: u64, allow: bool) -> Result<(), Errno> {
        Self::call(self.interface.iomem_permission(dom_id, first, count, allow)).map(drop)
    }

    /// Removes second-stage entries from the front of a run, as many as Xen does in one call.
    pub fn remove(self, dom_id: u16, gfn: u64, mfn: Mfn, count: u32) -> Removed<Errno> {
        match Self::call(self.interface.remove_mapping(dom_id, gfn, mfn, u64::from(count))) {
            Ok(0) => Removed::Pages(count),
            Ok(pages) => Removed::Pages(u32::try_from(pages).unwrap_or(count).min(count)),
            Err(EINVAL) => Removed::Absent,
            Err(ESRCH) => Removed::DomainGone,
            Err(error) => Removed::Refused(error),
        }
    }
}

impl DmOps for Hypervisor {
    fn dm_op(&mut self, call: &mut DmOp) -> Result<(), u16> {
        result(xen::device_model_operation(call)).map(drop).map_err(|error| error.0)
    }
}
