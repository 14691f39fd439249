// SPDX-License-Identifier: MIT OR Apache-2.0
//! An open, unbound `/dev/xen/xenlend`: the administrator's calls.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use crate::descriptor::BorrowerFd;
use crate::ioctl;
use crate::label::Label;
use crate::layout::{
    self, AllowBar, Attach, AttachFrontend, Bind, Capability, Detach, DetachFrontend, RawRegionInfo, Status,
    Version, Xen,
};

/// The device that the kernel module makes.
pub const DEVICE_PATH: &str = "/dev/xen/xenlend";

/// What [`Device::attach`] made: what the broker needs to find the lender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached {
    /// Grant references: control page, lender-to-broker data, broker-to-lender data.
    pub ring_refs: [u32; 3],
    /// The lender's port, unbound, for the broker.
    pub event_channel: u32,
}

/// What the borrower's frontend has made for the broker: claims of the borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendRings {
    /// Grant references: control page, data to the borrower, data from it.
    pub ring_refs: [u32; 3],
    /// The borrower's port, unbound, for the broker.
    pub event_channel: u32,
}

/// Why the broker did not take a frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontendRefusal {
    /// A grant could not be mapped: Xen's error number.
    Grant(u32),
    /// The port could not be bound: Xen's error number.
    EventChannel(u32),
    /// Another frontend is attached.
    InUse,
    /// A newer module's reason.
    Unknown(u32),
}

impl fmt::Display for FrontendRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(errno) => write!(f, "a grant of it cannot be mapped (Xen's error {errno})"),
            Self::EventChannel(errno) => {
                write!(f, "its event channel cannot be bound (Xen's error {errno})")
            }
            Self::InUse => f.write_str("another frontend is attached"),
            Self::Unknown(number) => write!(f, "number {number}, which this program does not know"),
        }
    }
}

/// One memory BAR of one PCI device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarAddress {
    /// PCI segment (domain, in Linux's words).
    pub segment: u32,
    /// PCI bus.
    pub bus: u32,
    /// PCI device and function: device in bits 7 to 3, function in bits 2 to 0.
    pub devfn: u8,
    /// Number of the BAR, 0 to 5.
    pub bar: u8,
}

/// A region that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionInfo {
    /// Number of the slot.
    pub slot: u32,
    /// `REGION_*` of [`crate::layout`].
    pub flags: u32,
    /// Where it appears in the borrower, in bytes.
    pub guest_phys_addr: u64,
    /// Bytes.
    pub memory_size: u64,
    /// What it is called.
    pub label: Label,
}

/// The device, not bound to a borrower.
#[derive(Debug)]
pub struct Device {
    file: File,
}

impl Device {
    /// Opens [`DEVICE_PATH`].
    ///
    /// # Errors
    /// `NotFound` when the module is not loaded, `PermissionDenied`.
    pub fn open() -> io::Result<Self> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits();
        let flags = i32::try_from(flags).unwrap_or_default();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(DEVICE_PATH)?;
        Ok(Self { file })
    }

    /// Makes the link for one borrower. The two output fields of `request` are ignored.
    ///
    /// # Errors
    /// As the header says for `XENLEND_ATTACH`.
    pub fn attach(&self, mut request: Attach) -> io::Result<Attached> {
        ioctl::attach(&self.file, &mut request)?;
        Ok(Attached { ring_refs: request.ring_refs, event_channel: request.event_channel })
    }

    /// The version of the module's interface, and the oldest whose programs go on working.
    ///
    /// # Errors
    /// `ENOTTY`: a module from before version 2.
    pub fn version(&self) -> io::Result<Version> {
        let mut request = Version::default();
        ioctl::version(&self.file, &mut request)?;
        Ok(request)
    }

    /// How much there is of something (`layout::CAP_*`), whatever borrower is meant; 0 also of what the module has
    /// never heard of.
    ///
    /// # Errors
    /// `ENOTTY`: a module from before version 2.
    pub fn capability(&self, capability: u32) -> io::Result<u64> {
        let mut request = Capability { capability, ..Capability::default() };
        ioctl::capability(&self.file, &mut request)?;
        Ok(request.value)
    }

    /// Whether the running Xen knows lent frames, as far as this borrower is concerned.
    ///
    /// # Errors
    /// As the header says for `XENLEND_XEN`.
    pub fn is_lend_aware(&self, borrower: u16) -> io::Result<bool> {
        let mut request = Xen { borrower, ..Xen::default() };
        ioctl::xen(&self.file, &mut request)?;
        Ok(request.flags & layout::STATUS_LEND_AWARE != 0)
    }

    /// Ends the link: everything is revoked when this returns.
    ///
    /// # Errors
    /// `ENOENT`: no link.
    pub fn detach(&self, borrower: u16) -> io::Result<()> {
        ioctl::detach(&self.file, Detach { borrower, ..Detach::default() })
    }

    /// Allows the frames of a BAR to be lent to the borrower; gives their number.
    ///
    /// # Errors
    /// As the header says for `XENLEND_ALLOW_BAR`.
    pub fn allow_bar(&self, borrower: u16, bar: BarAddress) -> io::Result<u64> {
        let mut request = AllowBar {
            borrower,
            bar: bar.bar,
            devfn: bar.devfn,
            segment: bar.segment,
            bus: bar.bus,
            ..AllowBar::default()
        };
        ioctl::allow_bar(&self.file, &mut request)?;
        Ok(request.frames)
    }

    /// The link of this borrower, `None` if there is none.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`.
    pub fn status(&self, borrower: u16) -> io::Result<Option<Status>> {
        self.query(Status { borrower, ..Status::default() })
    }

    /// Every link, by rising domain id of the borrower.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`.
    pub fn links(&self) -> io::Result<Vec<Status>> {
        let mut found = Vec::new();
        let mut from = Some(0);
        while let Some(borrower) = from {
            let Some(status) = self.query(Status { borrower, next: 1, ..Status::default() })? else { break };
            // A module that went backwards would have us here for ever.
            from = status.borrower.checked_add(1).filter(|next| *next > borrower);
            found.push(status);
        }
        Ok(found)
    }

    /// The regions of this borrower, by rising slot; none without a link.
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`.
    pub fn regions(&self, borrower: u16) -> io::Result<Vec<RegionInfo>> {
        let mut found = Vec::new();
        for slot in 0..layout::MAX_REGIONS {
            if found.last().is_some_and(|last: &RegionInfo| last.slot >= slot) {
                continue;
            }
            let mut raw = RawRegionInfo { borrower, slot, ..RawRegionInfo::default() };
            match ioctl::region(&self.file, &mut raw) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
            let RawRegionInfo { slot, flags, guest_phys_addr, memory_size, label, .. } = raw;
            let label = Label::from_raw(label);
            found.push(RegionInfo { slot, flags, guest_phys_addr, memory_size, label });
        }
        Ok(found)
    }

    /// Gives the broker the frontend's rings, and waits for its answer: `Some` if it refuses.
    ///
    /// # Errors
    /// As the header says for `XENLEND_ATTACH_FRONTEND`.
    pub fn attach_frontend(
        &self,
        borrower: u16,
        rings: FrontendRings,
    ) -> io::Result<Option<FrontendRefusal>> {
        let FrontendRings { ring_refs, event_channel } = rings;
        let mut request = AttachFrontend { borrower, ring_refs, event_channel, ..AttachFrontend::default() };
        let refused = match ioctl::attach_frontend(&self.file, &mut request) {
            Ok(()) => return Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::REMOTEIO.raw_os_error()) => {
                (request.failure, request.failure_errno)
            }
            Err(error) => return Err(error),
        };
        Ok(Some(match refused {
            (layout::FRONTEND_GRANT, errno) => FrontendRefusal::Grant(errno),
            (layout::FRONTEND_EVENT_CHANNEL, errno) => FrontendRefusal::EventChannel(errno),
            (layout::FRONTEND_IN_USE, _) => FrontendRefusal::InUse,
            (other, _) => FrontendRefusal::Unknown(other),
        }))
    }

    /// Lets the frontend go: the broker has nothing of it mapped or bound when this returns.
    ///
    /// # Errors
    /// As the header says for `XENLEND_DETACH_FRONTEND`.
    pub fn detach_frontend(&self, borrower: u16) -> io::Result<()> {
        ioctl::detach_frontend(&self.file, DetachFrontend { borrower, ..DetachFrontend::default() })
    }

    fn query(&self, mut request: Status) -> io::Result<Option<Status>> {
        match ioctl::status(&self.file, &mut request) {
            Ok(()) => Ok(Some(request)),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NOENT.raw_os_error()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Binds the descriptor to one borrower, once and for good.
    ///
    /// # Errors
    /// `ENOENT` no link; `EPERM` without `CAP_SYS_ADMIN`.
    pub fn bind(self, borrower: u16) -> io::Result<BorrowerFd> {
        ioctl::bind(&self.file, Bind { borrower, ..Bind::default() })?;
        Ok(BorrowerFd::new(self.file, borrower))
    }
}
