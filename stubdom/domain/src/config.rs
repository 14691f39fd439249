// SPDX-License-Identifier: MIT OR Apache-2.0
//! What dom0 has written into this domain's xenstore directory before it was started. Only dom0 can write
//! there; the borrower cannot.

use heapless::Vec;
use xenlend_protocol::joining::Joining;
use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::DomainId;

use crate::start_error::StartError;

/// Longest value read, in bytes.
pub const VALUE_BYTES: usize = 256;

/// Where the nodes are.
pub trait Nodes {
    /// Reads a node of this domain's directory.
    ///
    /// # Errors
    /// If there is no such node, or xenstored does not answer.
    fn read(&mut self, path: &'static str) -> Result<Vec<u8, VALUE_BYTES>, StartError>;
}

/// The one form of these nodes that this source reads.
const PROTOCOL: u64 = 1;

/// Whom to serve and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The lender.
    pub lender: DomainId,
    /// Its grants: control page, page to the broker, page to the lender.
    pub rings: [u32; 3],
    /// Its port.
    pub lender_port: Port,
    /// The borrower.
    pub borrower: DomainId,
    /// The aperture's first frame.
    pub aperture_gfn: u64,
    /// Its frames.
    pub aperture_pages: u32,
    /// The borrower's vCPUs.
    pub vcpus: u16,
}

impl Config {
    /// What a node of one more borrower says.
    pub fn of(borrower: DomainId, joining: Joining) -> Self {
        let Joining { lender, rings, event_channel, aperture_gfn, aperture_pages, vcpus } = joining;
        Self { lender, rings, lender_port: event_channel, borrower, aperture_gfn, aperture_pages, vcpus }
    }

    /// Reads it.
    ///
    /// # Errors
    /// If a node is missing or holds nonsense.
    pub fn read(xenstore: &mut impl Nodes) -> Result<Self, StartError> {
        let path = "xenlend/protocol";
        if number(xenstore, path, u64::MAX)? != PROTOCOL {
            return Err(StartError::BadNode { path, wanted: "1" });
        }
        let domain = u64::from(DomainId::MAX);
        let word = u64::from(u32::MAX);
        let config = Self {
            lender: number(xenstore, "xenlend/lender/domid", domain)? as DomainId,
            rings: [
                number(xenstore, "xenlend/lender/ring-ref-0", word)? as u32,
                number(xenstore, "xenlend/lender/ring-ref-1", word)? as u32,
                number(xenstore, "xenlend/lender/ring-ref-2", word)? as u32,
            ],
            lender_port: number(xenstore, "xenlend/lender/event-channel", word)? as Port,
            borrower: number(xenstore, "xenlend/borrower/domid", domain)? as DomainId,
            // 52 bits of address: no shift of it can overflow.
            aperture_gfn: number(xenstore, "xenlend/borrower/aperture-gfn", (1 << 40) - 1)?,
            aperture_pages: number(xenstore, "xenlend/borrower/aperture-pages", word)? as u32,
            vcpus: number(xenstore, "xenlend/borrower/vcpus", 128)? as u16,
        };
        if config.aperture_pages == 0 {
            return Err(StartError::BadNode { path: "xenlend/borrower/aperture-pages", wanted: "above 0" });
        }
        Ok(config)
    }
}

/// A node's number: decimal, or hexadecimal after `0x`.
fn number(xenstore: &mut impl Nodes, path: &'static str, limit: u64) -> Result<u64, StartError> {
    let bytes = xenstore.read(path)?;
    let text = core::str::from_utf8(&bytes).unwrap_or_default();
    let value = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match value {
        Ok(value) if value <= limit => Ok(value),
        Ok(_) => Err(StartError::BadNode { path, wanted: "in range" }),
        Err(_) => Err(StartError::BadNode { path, wanted: "a number" }),
    }
}
