// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages of xenstored, as the broker puts them together and takes them apart.

use xenlend_xen_abi::xenstore::{
    children, error_number, watch_event, Header, MessageType, Reassembly, HEADER_BYTES,
};

/// Room for a payload: less than xenstore allows, so that some are cut.
const ROOM: usize = 64;

/// A run of messages, and each payload as every kind of reply.
pub fn message(bytes: &[u8]) {
    let mut reassembly = Reassembly::<ROOM>::new();
    let mut taken = 0;
    for byte in bytes {
        let Ok(missing) = reassembly.missing_bytes() else { return };
        assert!(missing > 0, "a whole message has been taken");
        reassembly.feed(*byte);
        taken += 1;
        if reassembly.missing_bytes() != Ok(0) {
            continue;
        }
        let Ok((header, payload, cut)) = reassembly.message() else {
            panic!("nothing is missing of what is no message")
        };
        assert_eq!(taken, HEADER_BYTES + header.length as usize);
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        assert_eq!(cut, header.length as usize > ROOM);
        assert_eq!(payload.len(), (header.length as usize).min(ROOM));
        take_apart(header, payload);
        reassembly.reset();
        taken = 0;
    }
}

/// What a reply says, by its type and by every other.
fn take_apart(header: Header, payload: &[u8]) {
    assert!(error_number(payload) > 0);
    assert!(children(payload).all(|name| !name.is_empty() && !name.contains(&0)));
    if let Ok((path, token)) = watch_event(payload) {
        assert_eq!(payload.len(), path.len() + token.len() + 2);
    }
    let Some(kind) = MessageType::from_number(header.kind) else { return };
    let mut buffer = [0; HEADER_BYTES + ROOM];
    let length =
        Header::encode_message(kind, header.request_id, header.transaction_id, &[payload], &mut buffer)
            .expect("it came in as much");
    assert_eq!(length, HEADER_BYTES + payload.len());
    assert_eq!(buffer[HEADER_BYTES..length], *payload);
}
