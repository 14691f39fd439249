// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why the broker could not start: one line for the console and for `xenlend/broker/error`.

use core::fmt;

use xenlend_xen_abi::version::SUPPORTED;
use xenlend_xen_abi::{errno, grant_table, DomainId};

/// A start-up step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// No hypervisor that names itself Xen.
    NotXen,
    /// The start info is not what the PVH contract promises.
    StartInfo(&'static str),
    /// The domain's memory is too small or laid out in a way that leaves no room.
    Memory(&'static str),
    /// A hypercall failed.
    Call {
        /// What it was for.
        purpose: &'static str,
        /// Xen's error number.
        errno: u16,
    },
    /// A grant could not be mapped.
    Grant {
        /// The reference.
        reference: u32,
        /// `GNTST_*`.
        status: i16,
    },
    /// A release of Xen whose tool interface is not known here.
    UnknownXen {
        /// 4 in 4.20.
        major: u16,
        /// 20 in 4.20.
        minor: u16,
    },
    /// Xen refuses the interface version that belongs to its release.
    InterfaceVersion {
        /// The version tried.
        version: u32,
    },
    /// The broker has no rights over its borrower.
    NoRights {
        /// The borrower.
        borrower: DomainId,
        /// Xen's error number.
        errno: u16,
    },
    /// Xen did not say which kind it is.
    KindOfXen {
        /// The borrower.
        borrower: DomainId,
        /// Xen's error number.
        errno: u16,
    },
    /// A lend-aware Xen that cannot do all that is needed.
    LendFeatures {
        /// What it can.
        has: u32,
        /// What is needed.
        wanted: u32,
    },
    /// A xenstore operation failed.
    Xenstore {
        /// The node.
        path: &'static str,
        /// xenstored's error number.
        errno: u16,
    },
    /// xenstored did not answer in time, or answered nonsense.
    XenstoreBroken(&'static str),
    /// A node does not hold what it should.
    BadNode {
        /// The node.
        path: &'static str,
        /// What it should hold.
        wanted: &'static str,
    },
    /// The command line asks for something that this build does not have.
    CommandLine(&'static str),
    /// What more borrowers need and this one does not have.
    NotForMore(&'static str),
    /// The lending logic refuses the configuration.
    Configuration(&'static str),
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotXen => write!(formatter, "this is not Xen"),
            Self::StartInfo(what) => write!(formatter, "start info: {what}"),
            Self::Memory(what) => write!(formatter, "memory: {what}"),
            Self::Call { purpose, errno } => {
                write!(formatter, "{purpose}: {} ({errno})", errno::name(errno))
            }
            Self::Grant { reference, status } => {
                write!(formatter, "grant {reference}: {} ({status})", grant_table::status_name(status))
            }
            Self::UnknownXen { major, minor } => write!(
                formatter,
                "Xen {major}.{minor}: only {SUPPORTED} are known (the tool interface is not stable)"
            ),
            Self::InterfaceVersion { version } => {
                write!(formatter, "Xen refuses interface version {version:#x}, which belongs to its release")
            }
            Self::NoRights { borrower, errno } => write!(
                formatter,
                "no rights over domain {borrower}: {} ({errno}); has it been made this domain's target?",
                errno::name(errno)
            ),
            Self::KindOfXen { borrower, errno } => write!(
                formatter,
                "ask Xen how it lends to domain {borrower}: {} ({errno}); on stock Xen the toolstack makes it \
                 this domain's target, on lend-aware Xen it names this domain its broker: has it?",
                errno::name(errno)
            ),
            Self::LendFeatures { has, wanted } => write!(
                formatter,
                "this lend-aware Xen has features {has:#x} of {wanted:#x}: its patches are older than this broker"
            ),
            Self::Xenstore { path, errno } => {
                write!(formatter, "xenstore {path}: {} ({errno})", errno::name(errno))
            }
            Self::XenstoreBroken(what) => write!(formatter, "xenstore: {what}"),
            Self::BadNode { path, wanted } => write!(formatter, "xenstore {path}: not {wanted}"),
            Self::CommandLine(what) => write!(formatter, "command line: {what}"),
            Self::NotForMore(what) => write!(formatter, "one more borrower: {what}"),
            Self::Configuration(what) => write!(formatter, "configuration: {what}"),
        }
    }
}
