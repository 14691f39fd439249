// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs hand in: any number, any bytes.

use proptest::prelude::*;
use xenlend_front_core::page_set::Pages;
use xenlend_front_core::uapi::map::{BadMap, Demand, MapRequest, MAP_COHERENT, MAP_UNCACHED};
use xenlend_front_core::uapi::request::{Call, Request, Unknown, MAX_BYTES, WORD_BYTES};
use xenlend_front_core::uapi::{
    decode_leases, decode_prefault, encode_lease_count, pages_of, COUNTERS, GET_LEASES, INFO, PREFAULT,
};

const NOW: [(Call, u32); 4] = [
    (Call::Info, INFO),
    (Call::GetLeases, GET_LEASES),
    (Call::Prefault, PREFAULT),
    (Call::Counters, COUNTERS),
];

/// The number with a structure of another size.
fn sized(number: u32, bytes: u32) -> u32 {
    number & !(0x3FFF << 16) | bytes << 16
}

#[test]
fn a_call_is_known_in_every_size_that_a_header_may_give_it() {
    for (call, number) in NOW {
        let least = if call == Call::Counters {
            96
        } else if call == Call::GetLeases {
            16
        } else {
            24
        };
        for bytes in 0..0x4000 {
            let fits = bytes >= least && bytes as usize <= MAX_BYTES && bytes as usize % WORD_BYTES == 0;
            let expected =
                if fits { Ok(Request { call, bytes: bytes as usize }) } else { Err(Unknown::Size) };
            assert_eq!(Request::find(sized(number, bytes)), expected, "{call:?} of {bytes} bytes");
        }
    }
}

#[test]
fn flags_of_an_offset_are_known_or_refused() {
    let find = |offset: u64| MapRequest::find(offset / 4096, 3).map(|found| (found.pages, found.demand));
    let pages = Pages { first: 2, end: 5 };
    assert_eq!(find(0x2000), Ok((pages, Demand::AsItIs)));
    assert_eq!(find(0x2000 | MAP_COHERENT), Ok((pages, Demand::Coherent)));
    assert_eq!(find(0x2000 | MAP_UNCACHED), Ok((pages, Demand::Uncached)));
    assert_eq!(find(0x2000 | MAP_COHERENT | MAP_UNCACHED), Err(BadMap::Flags));
    for bit in [56, 57, 58, 59, 62, 63] {
        assert_eq!(find(0x2000 | 1 << bit), Err(BadMap::Flags), "bit {bit}");
    }
    assert_eq!(find(1 << 44), Err(BadMap::Pages));
    assert_eq!(MapRequest::find(u64::from(u32::MAX), 1), Err(BadMap::Pages), "behind the last");
}

proptest! {
    /// Only the four calls, by everything in the number but the size.
    #[test]
    fn any_number_is_one_of_the_calls_or_none(number in any::<u32>(), near in 0_usize..4, flip in 0_u32..32) {
        for number in [number, NOW[near].1 ^ 1 << flip] {
            let known = NOW.iter().find(|(_, now)| sized(*now, 0) == sized(number, 0));
            match Request::find(number) {
                Err(Unknown::Call) => prop_assert!(known.is_none()),
                Err(Unknown::Size) => prop_assert!(known.is_some()),
                Ok(found) => {
                    prop_assert_eq!(Some(found.call), known.map(|(call, _)| *call));
                    prop_assert!(found.bytes <= MAX_BYTES && found.bytes % WORD_BYTES == 0);
                    prop_assert_eq!(found.bytes as u32, number >> 16 & 0x3FFF);
                }
            }
        }
    }

    /// A range that is taken is exactly the one that was named.
    #[test]
    fn any_range_is_the_pages_that_it_names_or_none(
        offset in prop_oneof![any::<u64>(), (0_u64..1 << 33).prop_map(|page| page << 12)],
        bytes in prop_oneof![any::<u64>(), (0_u64..1 << 33).prop_map(|page| page << 12)],
        cookie in any::<u64>(),
    ) {
        let pages = pages_of(offset, bytes);
        let words = [offset, bytes, cookie].map(u64::to_ne_bytes).concat();
        let decoded = decode_prefault(&words.try_into().unwrap());
        prop_assert_eq!(decoded.map(|decoded| (decoded.pages, decoded.cookie)), pages.map(|pages| (pages, cookie)));
        let whole = offset % 4096 == 0 && bytes % 4096 == 0 && bytes > 0;
        let end = u128::from(offset) + u128::from(bytes);
        let expected = whole && end / 4096 <= u128::from(u32::MAX);
        prop_assert_eq!(pages.is_some(), expected);
        if let Some(Pages { first, end: last }) = pages {
            prop_assert_eq!((u64::from(first) << 12, u128::from(last) << 12), (offset, end));
        }
    }

    #[test]
    fn any_offset_of_mmap_is_pages_or_refused(offset in any::<u64>(), small in any::<u32>(), count in any::<u64>()) {
        for (offset, count) in [(offset, count), (u64::from(small), count >> 32), (offset, count >> 32)] {
            match MapRequest::find(offset, count) {
                Ok(found) => {
                    prop_assert_eq!(u64::from(found.pages.count()), count);
                    let bare = offset & !((MAP_COHERENT | MAP_UNCACHED) >> 12);
                    prop_assert_eq!(u64::from(found.pages.first), bare);
                }
                Err(BadMap::Flags) => prop_assert!(offset >> 44 != 0),
                Err(BadMap::Pages) => prop_assert!(offset + (count.min(1 << 40)) > u64::from(u32::MAX)),
            }
        }
    }

    /// Leases never go outside what the caller has room for.
    #[test]
    fn any_room_for_leases_is_used_by_whole_strides(bytes in any::<[u8; 24]>(), stride in 0_u32..40) {
        let mut bytes = bytes;
        bytes[16..20].copy_from_slice(&(stride * 8).to_ne_bytes());
        bytes[20..].fill(0);
        if let Some(room) = decode_leases(&bytes) {
            prop_assert!((72..=MAX_BYTES).contains(&room.stride));
            prop_assert_eq!(room.at(3).wrapping_sub(room.at(2)), room.stride as u64);
            let mut back = bytes;
            encode_lease_count(&mut back, 7);
            prop_assert_eq!(decode_leases(&back), Some(room), "only the count is written");
        } else {
            prop_assert!(stride > 0 && stride * 8 < 72 || stride * 8 > 256);
        }
    }
}
