// SPDX-License-Identifier: MIT OR Apache-2.0
//! A program that was compiled with the header of API version 2 goes on working: what it asks is understood,
//! and what it is answered it understands.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::Pair;
use xenlend_protocol::message::FromBroker;
use xenlend_shim_core::call::{capability, Call};
use xenlend_shim_core::events::Event;
use xenlend_shim_core::regions::MAX_REGIONS;
use xenlend_shim_core::uapi::{
    self, AllowBar, Attach, AttachFrontend, RegionRequest, REGION_LOSS_FAULT, REGION_READONLY,
};

/// The program of the kept header.
fn program(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let header = folder.join("../uapi/kept/xenlend-2.h");
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", &format!("-DKEPT_HEADER=\"{}\"", header.display()), "-o"])
        .args([&program, &folder.join("tests/kept_program.c")])
        .status()
        .expect("a C compiler (cc) is needed for this test");
    assert!(compiled.success());
    program
}

fn bytes_of(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The structure as the module of today reads it: zeros for what the program had not.
fn read<const N: usize>(asked: &BTreeMap<String, (u32, Vec<u8>)>, name: &str, call: Call) -> [u8; N] {
    let (number, bytes) = &asked[name];
    assert_eq!(Call::of(*number), Some((call, bytes.len())), "{name}");
    let mut known = [0; N];
    let common = bytes.len().min(N);
    known[..common].copy_from_slice(&bytes[..common]);
    known
}

#[test]
fn what_an_old_program_asks_is_understood() {
    let output = Command::new(program("kept_questions")).output().unwrap();
    let asked: BTreeMap<String, (u32, Vec<u8>)> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split(' ').collect();
            (words[0].to_owned(), (words[1].parse().unwrap(), bytes_of(words[2])))
        })
        .collect();
    assert_eq!(asked.len(), 13);

    let attach = Attach::decode(&read(&asked, "attach", Call::Attach));
    assert_eq!((attach.borrower, attach.broker, attach.flags), (7, 8, uapi::ATTACH_CHECK));
    assert_eq!((attach.aperture_address, attach.aperture_size), (0x10_0000_0000, 0x1000_0000));
    assert_eq!((attach.deadline_ms, attach.vcpus, attach.ring_refs), (5, 6, [0; 3]));
    assert!(attach.aperture_limit == 0 && attach.is_within_limit());
    for (name, call) in [
        ("detach", Call::Detach),
        ("bind", Call::Bind),
        ("detach_frontend", Call::DetachFrontend),
        ("xen", Call::Xen),
    ] {
        assert_eq!(uapi::decode_domain(&read(&asked, name, call)), Some(7), "{name}");
    }
    let bar = AllowBar::decode(&read(&asked, "allow_bar", Call::AllowBar));
    assert_eq!((bar.borrower, bar.bar, bar.devfn, bar.segment, bar.bus), (7, 1, 0x10, 2, 3));
    assert_eq!(uapi::decode_status(&read(&asked, "status", Call::Status)), (7, true));
    let frontend = AttachFrontend::decode(&read(&asked, "attach_frontend", Call::AttachFrontend));
    assert!(frontend.is_clean);
    assert_eq!((frontend.ring_refs, frontend.event_channel), ([1, 2, 3], 4));
    assert_eq!(uapi::decode_region_info(&read(&asked, "region_info", Call::GetRegion)), Some((7, 9)));
    let region = RegionRequest::decode(&read(&asked, "region", Call::Region));
    assert_eq!((region.slot, region.flags), (5, REGION_LOSS_FAULT));
    let labelled = RegionRequest::decode2(&read(&asked, "region2", Call::Region2)).unwrap();
    assert_eq!((labelled.flags, labelled.label.as_bytes()), (REGION_READONLY, &b"fb0"[..]));
    for region in [region, labelled] {
        let places = (region.guest_phys_addr, region.memory_size, region.userspace_addr);
        assert_eq!(places, (0x1000, 0x2000, 0x3000));
    }
    let asked_for = uapi::decode_capability(&read(&asked, "capability", Call::Capability));
    assert_eq!(asked_for.map(|number| capability(number, None)), Some(MAX_REGIONS as u64));
    let _: [u8; 8] = read(&asked, "version", Call::Version);
}

#[test]
fn what_an_old_program_is_answered_it_understands() {
    let mut pair = Pair::connected();
    let request = RegionRequest { flags: REGION_LOSS_FAULT, ..support::request(3, 512, 8, support::USER) };
    let request =
        RegionRequest { label: xenlend_protocol::label::ClaimedLabel::new(b"fb0").unwrap(), ..request };
    let Ok(xenlend_shim_core::regions::Plan::Create(new)) = pair.link.plan_region(&request, support::CALLER)
    else {
        panic!()
    };
    let mirror = xenlend_shim_core::mirror::Mirror::new(new.first, vec![0; 8], vec![0; 1]);
    pair.link.insert_region(&new, mirror);
    pair.link.post_set(new.lease).unwrap();
    pair.say(FromBroker::RegionSet { lease: new.lease, result: Ok(()) });
    while pair.next().is_some() {}
    support::present(&mut pair, new.lease, 512, 0x700, 1);
    assert!(matches!(
        support::invalidate(&mut pair, new.lease, 512, 1),
        xenlend_shim_core::link::InvalidateStart::Posted(_)
    ));
    let mut info = [0; uapi::REGION_INFO_BYTES];
    pair.link.region_info(0).unwrap().encode_answer(&mut info);
    let event = Event { kind: 6, slot: 3, address: 0x10_0020_0000, value: 5 };
    // The module writes as much as the program has room for: what it has of each structure comes first.
    let status = pair.link.status().encode();
    let mut hex = String::new();
    for byte in status[..256].iter().chain(&info[..64]).chain(&uapi::encode_event(&event)) {
        write!(hex, "{byte:02x}").unwrap();
    }
    let mut program = Command::new(program("kept_answers"))
        .arg("answers")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    program.stdin.take().unwrap().write_all(hex.as_bytes()).unwrap();
    let output = program.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "status 7 8 2 0 67108864 1 0\nregion_info 3 100 1000200000 8000 fb0\nevent 6 3 1000200000 5\n"
    );
}
