// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a vector is compared: both directions, every cut, and a byte too many.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::Serialize;
use xenlend_protocol::codec::{decode, encode, Undecodable};
use xenlend_protocol::lease_id::LeaseId;

/// Lease 3 of generation 300: 03, ac 02.
pub const LEASE: LeaseId = LeaseId { index: 3, generation: 300 };

/// Both directions, every cut, and a byte too many.
#[track_caller]
pub fn golden<T: Serialize + DeserializeOwned + PartialEq + Debug>(message: &T, bytes: &[u8]) {
    let mut buffer = [0xee; 384];
    let length = encode(message, &mut buffer).unwrap();
    assert_eq!(buffer[..length], *bytes, "{message:?}");
    assert_eq!(decode::<T>(bytes).as_ref(), Ok(message));
    for cut in 0..bytes.len() {
        assert_eq!(decode::<T>(&bytes[..cut]), Err(Undecodable), "{message:?} cut to {cut}");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert_eq!(decode::<T>(&longer), Err(Undecodable), "{message:?} and a byte");
}
