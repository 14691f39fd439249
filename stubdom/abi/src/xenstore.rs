// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xenstore wire (`public/io/xs_wire.h`, `docs/misc/xenstore.txt` of Xen): the ring that a domain
//! shares with xenstored, and the messages that go over it and over Linux's /dev/xen/xenbus.

mod message;

pub use message::{
    children, error_number, watch_event, DecodeError, EncodeError, Header, MessageType, Reassembly,
    HEADER_BYTES, PAYLOAD_BYTES_MAX,
};

/// Bytes in each direction of the ring.
pub const RING_BYTES: u32 = 1024;

/// `struct xenstore_domain_interface`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct XenstoreRing {
    /// Requests to xenstored.
    pub req: [u8; RING_BYTES as usize],
    /// Replies and watch events.
    pub rsp: [u8; RING_BYTES as usize],
    /// Request bytes that xenstored has taken, free-running.
    pub req_cons: u32,
    /// Request bytes that the domain has put.
    pub req_prod: u32,
    /// Reply bytes that the domain has taken.
    pub rsp_cons: u32,
    /// Reply bytes that xenstored has put.
    pub rsp_prod: u32,
    /// Features of the server.
    pub server_features: u32,
    /// 0 when connected.
    pub connection: u32,
    /// 0 unless xenstored has found a fault.
    pub error: u32,
}

const _: () = assert!(core::mem::size_of::<XenstoreRing>() == 2076);
