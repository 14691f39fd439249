// SPDX-License-Identifier: MIT OR Apache-2.0
//! A vCPU's request, which the borrower's instructions make up.

use xenlend_lending::hypervisor::IoreqClaim;
use xenlend_lending::ioreq::{Movement, Request};
use xenlend_protocol::message::MAX_ACCESS_BYTES;

use crate::Stream;

/// Checked and cut into pieces that stay in one page on both sides.
pub fn requests(bytes: &[u8]) {
    let mut stream = Stream(bytes);
    let [kind, flags] = stream.take();
    let claim = IoreqClaim {
        kind,
        state: stream.byte(),
        address: u64::from_le_bytes(stream.take()),
        data: u64::from_le_bytes(stream.take()),
        count: u32::from_le_bytes(stream.take()),
        size: u32::from_le_bytes(stream.take()),
        is_read: flags & 1 != 0,
        data_is_pointer: flags & 2 != 0,
        downwards: flags & 4 != 0,
    };
    let Request::Access(access) = Request::check(&claim) else { return };
    let mut next = None;
    let mut moved = 0u64;
    for piece in access.pieces() {
        assert!(piece.length > 0 && usize::from(piece.length) <= MAX_ACCESS_BYTES);
        let length = u64::from(piece.length);
        assert!(piece.address % 4096 + length <= 4096);
        assert!(next.is_none_or(|next| next == piece.address), "one run of bytes");
        if let Some(memory) = piece.memory {
            assert!(memory % 4096 + length <= 4096);
        }
        assert_eq!(u64::from(piece.start), moved);
        next = Some(piece.address + length);
        moved += length;
    }
    let elements = if access.movement() == Movement::ReadValue { 1 } else { claim.count };
    assert_eq!(moved, u64::from(elements) * u64::from(claim.size));
}
