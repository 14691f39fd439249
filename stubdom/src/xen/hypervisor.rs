// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kind of Xen that this is, found out by asking, and its implementation.

use xenlend_lending::capabilities::Capabilities;
use xenlend_lending::hypervisor::{Errno, Hypervisor, IoreqClaim, Partial};
use xenlend_lending::lending_table::FrameRun;
use xenlend_protocol::message::Rights;
use xenlend_xen_abi::errno::{ENOENT, EOPNOTSUPP, EPERM, ESRCH};
use xenlend_xen_abi::lend::{XenKind, REQUIRED};
use xenlend_xen_abi::DomainId;

use super::dm_op;
use super::ioreq_server::IoreqServer;
use super::lend_aware_hypervisor::LendAwareHypervisor;
use super::stock_hypervisor::StockHypervisor;
use crate::departure::Server;
use crate::start_error::StartError;

/// Asks Xen which kind it is.
///
/// # Errors
/// If it neither answers nor says that it does not know the question, or can only part of what is needed.
pub fn ask(borrower: DomainId) -> Result<XenKind, StartError> {
    let features = match dm_op::lend_query(borrower) {
        Ok(query) => Some(query.features),
        Err(EOPNOTSUPP) => None,
        Err(errno) => return Err(StartError::KindOfXen { borrower, errno }),
    };
    XenKind::of(features).map_err(|missing| StartError::LendFeatures { has: missing.has, wanted: REQUIRED })
}

/// How that was found out, for `xenlend/broker/xen-reason`.
pub fn reason(kind: XenKind) -> &'static str {
    match kind {
        XenKind::Stock => "Xen answers XEN_DMOP_lend_query with EOPNOTSUPP",
        XenKind::LendAware => "Xen answers XEN_DMOP_lend_query",
    }
}

/// What it can give to a lease.
pub fn capabilities(kind: XenKind) -> Capabilities {
    match kind {
        XenKind::Stock => Capabilities::STOCK,
        XenKind::LendAware => Capabilities::LEND_AWARE,
    }
}

/// The one of the two that this domain runs on.
#[allow(clippy::large_enum_variant, reason = "there is one of it, for as long as the domain lives")]
pub enum XenHypervisor {
    /// Stock Xen.
    Stock(StockHypervisor),
    /// Lend-aware Xen.
    LendAware(LendAwareHypervisor),
}

impl XenHypervisor {
    /// Requests of the borrower's vCPUs.
    pub fn requests(&self) -> &IoreqServer {
        match self {
            Self::Stock(stock) => &stock.requests,
            Self::LendAware(aware) => &aware.requests,
        }
    }
}

impl Server for XenHypervisor {
    fn disable(&self) -> Result<(), u16> {
        self.requests().disable()
    }

    fn destroy(&self) -> Result<(), u16> {
        self.requests().destroy()
    }

    fn can_dismiss(&self) -> bool {
        matches!(self, Self::LendAware(_))
    }

    fn is_dismissed(&self, errno: u16) -> bool {
        self.can_dismiss() && matches!(errno, ENOENT | EPERM | ESRCH)
    }
}

/// Calls the same method of whichever it is.
macro_rules! either {
    ($this:expr, $method:ident($($argument:expr),*)) => {
        match $this {
            XenHypervisor::Stock(stock) => stock.$method($($argument),*),
            XenHypervisor::LendAware(aware) => aware.$method($($argument),*),
        }
    };
}

impl Hypervisor for XenHypervisor {
    fn add(&mut self, runs: &[FrameRun], rights: Rights) -> Result<(), Partial> {
        either!(self, add(runs, rights))
    }

    fn remove(&mut self, runs: &[FrameRun]) -> Result<(), Partial> {
        either!(self, remove(runs))
    }

    fn request(&mut self, vcpu: u16) -> Option<IoreqClaim> {
        either!(self, request(vcpu))
    }

    fn accept(&mut self, vcpu: u16) {
        either!(self, accept(vcpu));
    }

    fn complete(&mut self, vcpu: u16, data: u64) {
        either!(self, complete(vcpu, data));
    }

    fn read_borrower(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        either!(self, read_borrower(address, bytes))
    }

    fn write_borrower(&mut self, address: u64, bytes: &[u8]) -> Result<(), Errno> {
        either!(self, write_borrower(address, bytes))
    }

    fn forget_borrower_memory(&mut self) {
        either!(self, forget_borrower_memory());
    }
}
