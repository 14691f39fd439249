// SPDX-License-Identifier: MIT OR Apache-2.0
//! Labels: what is one, on the wire and in a field of a uAPI.

use xenlend_protocol::codec::{decode, encode, Undecodable};
use xenlend_protocol::label::{ClaimedLabel, Unprintable, LABEL_FIELD_BYTES, MAX_LABEL_BYTES};

fn claimed(bytes: &[u8]) -> ClaimedLabel {
    ClaimedLabel::new(bytes).unwrap()
}

#[test]
fn printable_ascii_is_a_label_and_nothing_else_is() {
    for byte in 0..=u8::MAX {
        let label = claimed(&[b'a', byte]).check();
        let printable = byte == b' ' || byte.is_ascii_graphic();
        assert_eq!(label.is_ok(), printable, "{byte:#x}");
    }
    assert_eq!(claimed("größe".as_bytes()).check(), Err(Unprintable), "UTF-8, but not ASCII");
    assert_eq!(claimed(b"").check().unwrap().as_str(), "");
    assert_eq!(claimed(b"scanout 0").check().unwrap().as_str(), "scanout 0");
}

#[test]
fn a_label_is_as_long_as_it_may_be_and_no_longer() {
    assert_eq!(claimed(&[b'x'; MAX_LABEL_BYTES]).check().unwrap().as_str(), "x".repeat(31));
    assert_eq!(ClaimedLabel::new(&[b'x'; MAX_LABEL_BYTES + 1]), None);
}

#[test]
fn a_field_holds_a_label_and_zeros() {
    for length in 0..=MAX_LABEL_BYTES {
        let mut field = [0; LABEL_FIELD_BYTES];
        field[..length].fill(b'x');
        let label = ClaimedLabel::from_field(&field).unwrap();
        assert_eq!(label.as_bytes(), vec![b'x'; length]);
        assert_eq!(label.check().unwrap().to_field(), field);
        for behind in length + 1..LABEL_FIELD_BYTES {
            let mut odd = field;
            odd[behind] = b'y';
            assert_eq!(ClaimedLabel::from_field(&odd), None, "{length} {behind}");
        }
    }
    assert_eq!(ClaimedLabel::from_field(&[b'x'; LABEL_FIELD_BYTES]), None, "without an end");
}

#[test]
fn the_wire_has_the_length_and_the_bytes_whatever_they_are() {
    let mut buffer = [0; 64];
    // Length 3; the bytes.
    let length = encode(&claimed(&[0, 0xff, b'a']), &mut buffer).unwrap();
    assert_eq!(buffer[..length], [0x03, 0x00, 0xff, b'a']);
    assert_eq!(decode::<ClaimedLabel>(&buffer[..length]), Ok(claimed(&[0, 0xff, b'a'])));
    assert_eq!(decode::<ClaimedLabel>(&[0]), Ok(ClaimedLabel::default()));
    let longest = [&[31][..], &[b'x'; 31]].concat();
    assert_eq!(decode::<ClaimedLabel>(&longest), Ok(claimed(&[b'x'; 31])));
    let longer = [&[32][..], &[b'x'; 32]].concat();
    assert_eq!(decode::<ClaimedLabel>(&longer), Err(Undecodable));
    assert_eq!(decode::<ClaimedLabel>(&[3, b'a', b'b']), Err(Undecodable), "cut short");
}
