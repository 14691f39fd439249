// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! Headers that programs have been built with, kept as they were: what such a program does with the driver of
//! today. The C compiler says what the old header means, the driver's core what becomes of it.

#[allow(unused_macros, dead_code, reason = "the other tests of headers use the rest")]
#[path = "../../../dom0-shim/cli/tests/support/c_header.rs"]
mod c_header;

use std::path::{Path, PathBuf};

use c_header::{ask_the_c_compiler, Beliefs};
use xenlend_front_core::uapi::request::{Call, Request};

const SIZES: [&str; 6] = ["info", "lease", "leases", "prefault", "event", "counters"];

/// Fields that version 2 has, by structure.
const FIELDS_2: [(&str, &[&str]); 6] = [
    ("info", &["api_version", "state", "aperture_address", "aperture_bytes"]),
    ("lease", &["index", "generation", "serial", "offset", "bytes", "flags", "reserved", "label"]),
    ("leases", &["leases", "capacity", "count"]),
    ("prefault", &["offset", "bytes", "cookie"]),
    ("event", &["type", "status", "offset", "bytes", "value"]),
    (
        "counters",
        &[
            "guest_page_faults",
            "zaps",
            "pages_inserted",
            "entries_2mib",
            "waits",
            "prefaults",
            "bus_errors",
            "unavailable",
            "forced_insertions",
            "messages_sent",
            "messages_received",
            "links",
        ],
    ),
];

/// Those that version 3 has added.
const FIELDS_3: [(&str, &[&str]); 2] =
    [("info", &["capabilities"]), ("leases", &["lease_bytes", "reserved"])];

const CALLS: [(&str, Call, &str); 4] = [
    ("INFO", Call::Info, "info"),
    ("GET_LEASES", Call::GetLeases, "leases"),
    ("PREFAULT", Call::Prefault, "prefault"),
    ("COUNTERS", Call::Counters, "counters"),
];

fn header(version: Option<u32>) -> PathBuf {
    let name = match version {
        Some(version) => format!("tests/kept/xenlend-guest-{version}.h"),
        None => "../uapi/xenlend-guest.h".to_owned(),
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn ask(version: Option<u32>, of: u32, expressions: impl Iterator<Item = String>) -> Beliefs {
    let name = format!("kept-{of}-{}", version.map_or("now".to_owned(), |version| version.to_string()));
    ask_the_c_compiler(&header(version), &name, &expressions.map(|expression| (expression, 0)).collect())
}

/// The constants of a header: its names but for what changes with every version, and macros with arguments.
fn constants(version: u32) -> Vec<String> {
    let text = std::fs::read_to_string(header(Some(version))).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("#define ")?.split_whitespace().next());
    let is_call = |name: &str| CALLS.iter().any(|(call, ..)| name == format!("XENLEND_GUEST_{call}"));
    names
        .filter(|name| name.starts_with("XENLEND_GUEST_") && *name != "XENLEND_GUEST_API_VERSION")
        .filter(|name| !is_call(name))
        .map(str::to_owned)
        .collect()
}

/// Everything of a kept header means the same today.
fn means_the_same(version: u32, fields: &[(&str, &[&str])]) {
    let offsets = || {
        fields.iter().flat_map(|(of, fields)| {
            fields.iter().map(move |field| format!("offsetof(struct xenlend_guest_{of}, {field})"))
        })
    };
    let all = || offsets().chain(constants(version));
    assert!(constants(version).len() > 20, "no constants found");
    assert_eq!(ask(Some(version), version, all()), ask(None, version, all()), "version {version}");
}

/// A program of that version makes calls that the driver knows, of the size that its structures have.
fn is_served(version: u32) {
    let size = |of: &str| format!("sizeof(struct xenlend_guest_{of})");
    let call = |name: &str| format!("(unsigned int)XENLEND_GUEST_{name}");
    let expressions = || SIZES.into_iter().map(size).chain(CALLS.into_iter().map(|(name, ..)| call(name)));
    let then = ask(Some(version), version + 100, expressions());
    let now = ask(None, version + 100, expressions());
    for (name, expected, structure) in CALLS {
        let found =
            Request::find(then[&call(name)] as u32).unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let bytes = then[&size(structure)] as usize;
        assert_eq!(found, Request { call: expected, bytes }, "{name} of version {version}");
    }
    for of in SIZES {
        assert!(then[&size(of)] <= now[&size(of)], "{of} has shrunk since version {version}");
    }
    assert_eq!(then[&size("event")], now[&size("event")], "read() gives events of one size");
}

#[test]
fn programs_of_version_2_go_on_working() {
    means_the_same(2, &FIELDS_2);
    is_served(2);
}

#[test]
fn programs_of_version_3_go_on_working() {
    means_the_same(3, &[&FIELDS_2[..], &FIELDS_3[..]].concat());
    is_served(3);
}
