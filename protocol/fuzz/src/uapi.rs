// SPDX-License-Identifier: MIT OR Apache-2.0
//! The structures that a process hands to the lender's kernel, and the rules for regions.

use xenlend_protocol::label::Label;
use xenlend_shim_core::mirror::Mirror;
use xenlend_shim_core::regions::{Aperture, Caller, Phase, Plan, ProcessId, Regions, Slot, MAX_REGIONS};
use xenlend_shim_core::storage::Storage;
use xenlend_shim_core::uapi::{
    decode_domain, decode_region_info, decode_status, AllowBar, Attach, RegionInfo, RegionRequest,
    ALLOW_BAR_BYTES, ATTACH_BYTES, REGION2_BYTES, REGION_INFO_BYTES, STATUS_BYTES,
};

use crate::Stream;

struct Vectors;

impl Storage for Vectors {
    type Slice<T> = Vec<T>;
}

/// 256 MiB, somewhere.
const APERTURE: Aperture = Aperture { address: 0x10_0000_0000, size: 256 << 20 };

/// Calls of a process, one after the other. The first byte of each says which.
pub fn requests(bytes: &[u8]) {
    let mut stream = Stream(bytes);
    let mut regions = Regions::<Vectors>::new((0..MAX_REGIONS).map(|_| Slot::EMPTY).collect());
    while !stream.is_empty() {
        match stream.byte() % 7 {
            0 => attach(stream.take()),
            1 => allow_bar(stream.take()),
            2 => {
                let bytes = stream.take();
                let domain = decode_domain(&bytes);
                assert_eq!(domain.is_some(), bytes[2..] == [0; 6]);
            }
            3 => {
                let (borrower, _) = decode_status(&stream.take::<STATUS_BYTES>());
                let _ = borrower;
            }
            4 => {
                let (owner, unsupported) = (stream.byte(), stream.byte());
                region(&mut regions, owner, unsupported, &RegionRequest::decode(&stream.take()));
            }
            5 => {
                let (owner, unsupported) = (stream.byte(), stream.byte());
                let bytes = stream.take::<REGION2_BYTES>();
                if let Some(request) = RegionRequest::decode2(&bytes) {
                    if let Some(label) = region(&mut regions, owner, unsupported, &request) {
                        assert_eq!(label.to_field()[..], bytes[32..]);
                        assert!(label.as_str().bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
                    }
                }
            }
            _ => region_info(stream.take()),
        }
    }
}

/// The answers are put into the structure, and nothing else is changed.
fn attach(bytes: [u8; ATTACH_BYTES]) {
    let attach = Attach::decode(&bytes);
    let mut answered = bytes;
    Attach { ring_refs: [7; 3], event_channel: 7, ..attach }.encode_answer(&mut answered);
    assert_eq!(answered[..32], bytes[..32]);
    attach.encode_answer(&mut answered);
    assert_eq!(answered, bytes);
}

/// As [`attach`].
fn allow_bar(bytes: [u8; ALLOW_BAR_BYTES]) {
    let allow = AllowBar::decode(&bytes);
    let mut answered = bytes;
    AllowBar { frames: !allow.frames, ..allow }.encode_answer(&mut answered);
    assert_eq!(answered[..16], bytes[..16]);
    assert_eq!(AllowBar::decode(&answered).frames, !allow.frames);
}

/// As [`attach`].
fn region_info(bytes: [u8; REGION_INFO_BYTES]) {
    if let Some((_, slot)) = decode_region_info(&bytes) {
        let info = RegionInfo { slot, flags: 0, guest_phys_addr: 0, memory_size: 0, label: Label::default() };
        let mut answered = bytes;
        info.encode_answer(&mut answered);
        assert_eq!(answered[..8], bytes[..8]);
        assert_eq!(answered[8..], [0; REGION_INFO_BYTES - 8]);
    }
}

/// A region that is made lies in the aperture and in the process, on no other, and asks for nothing
/// that this kind of Xen (a bit for each flag that it cannot keep) does not have.
fn region(
    regions: &mut Regions<Vectors>,
    owner: u8,
    unsupported: u8,
    request: &RegionRequest,
) -> Option<Label> {
    let unsupported = u32::from(unsupported);
    // Several descriptors of a process, and several processes.
    let process = ProcessId(u64::from(owner % 3));
    let caller = Caller { descriptor: u32::from(owner / 3), process, user_limit: (1 << 47) - 4096 };
    match regions.plan(request, &APERTURE, caller, unsupported) {
        Ok(Plan::Create(new)) => {
            assert_eq!(request.flags & unsupported, 0);
            let end = u64::from(new.first.0) + u64::from(new.count);
            assert!(new.count > 0 && end <= u64::from(APERTURE.pages()));
            assert_eq!(new.user_address % 4096, 0);
            assert!(new.user_address + u64::from(new.count) * 4096 < 1 << 47);
            for other in regions.iter() {
                let other_end = u64::from(other.first.0) + u64::from(other.count);
                assert!(end <= u64::from(other.first.0) || other_end <= u64::from(new.first.0));
                assert_ne!(other.lease.index, new.lease.index);
            }
            regions.insert(&new, Mirror::new(new.first, Vec::new(), Vec::new()));
            if let Some(region) = regions.get_mut(new.lease) {
                region.phase = Phase::Active;
            }
            return Some(new.label);
        }
        Ok(Plan::Delete(lease)) => {
            let region = regions.remove(lease).expect("what is to be deleted is there");
            assert_eq!(region.owner, Some(caller.descriptor));
        }
        Ok(Plan::Nothing) | Err(_) => (),
    }
    None
}
