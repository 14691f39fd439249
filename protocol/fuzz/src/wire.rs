// SPDX-License-Identifier: MIT OR Apache-2.0
//! The decoder of every message: what it takes is one message, which can be sent again.

use std::fmt::Debug;

use serde::{de::DeserializeOwned, Serialize};
use xenlend_protocol::codec::{decode, encode};
use xenlend_protocol::frontend::{FromBorrower, ToBorrower};
use xenlend_protocol::message::{FromBroker, ToBroker, MAX_MESSAGE_BYTES};

/// A message that was decoded is the same one after it was sent on, in no more bytes than it came in.
fn decoded_once_is_decoded_again<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(message) = decode::<T>(bytes) else { return };
    let mut buffer = [0; MAX_MESSAGE_BYTES];
    let length = encode(&message, &mut buffer).expect("every message fits");
    // An encoder writes the shortest form of every number; a decoder may take longer ones.
    assert!(length <= bytes.len());
    assert_eq!(decode::<T>(&buffer[..length]).as_ref(), Ok(&message));
}

/// From the lender to the broker.
pub fn to_broker(bytes: &[u8]) {
    decoded_once_is_decoded_again::<ToBroker>(bytes);
}

/// From the broker to the lender.
pub fn from_broker(bytes: &[u8]) {
    decoded_once_is_decoded_again::<FromBroker>(bytes);
}

/// Both directions of the borrower's link, which the first byte chooses from.
pub fn borrower_link(bytes: &[u8]) {
    match bytes.split_first() {
        Some((0, message)) => decoded_once_is_decoded_again::<FromBorrower>(message),
        Some((_, message)) => decoded_once_is_decoded_again::<ToBorrower>(message),
        None => (),
    }
}
