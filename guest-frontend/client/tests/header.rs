// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! Compiles `xenlend-guest.h` with the C compiler and compares it with the Rust side.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};
use std::process::Command;

use xenlend_guest::layout::{self, Counters, RawEvent, RawInfo, RawLease, RawLeases, RawPrefault};

/// What Rust believes: a C expression and its value.
type Beliefs = BTreeMap<String, u64>;

macro_rules! believe {
    ($beliefs:ident, $rust:ty, $c:literal, [$($field:ident $(as $c_field:literal)?),+ $(,)?]) => {
        $beliefs.insert(format!("sizeof(struct {})", $c), size_of::<$rust>() as u64);
        $(
            #[allow(unused_mut, unused_assignments)]
            let mut name = stringify!($field);
            $(name = $c_field;)?
            $beliefs.insert(format!("offsetof(struct {}, {name})", $c), offset_of!($rust, $field) as u64);
        )+
    };
}

fn structures() -> Beliefs {
    let mut beliefs = Beliefs::new();
    believe!(beliefs, RawInfo, "xenlend_guest_info", [api_version, state, aperture_address, aperture_bytes]);
    believe!(
        beliefs,
        RawLease,
        "xenlend_guest_lease",
        [index, generation, serial, offset, bytes, flags, reserved]
    );
    believe!(beliefs, RawLeases, "xenlend_guest_leases", [leases, capacity, count]);
    believe!(beliefs, RawPrefault, "xenlend_guest_prefault", [offset, bytes, cookie]);
    believe!(beliefs, RawEvent, "xenlend_guest_event", [kind as "type", status, offset, bytes, value]);
    believe!(
        beliefs,
        Counters,
        "xenlend_guest_counters",
        [
            guest_page_faults,
            zaps,
            pages_inserted,
            entries_2mib,
            waits,
            prefaults,
            bus_errors,
            unavailable,
            forced_insertions,
            messages_sent,
            messages_received,
            links
        ]
    );
    beliefs
}

fn numbers() -> Beliefs {
    let pairs: [(&str, u64); 28] = [
        ("API_VERSION", 1),
        ("IOC_MAGIC", layout::MAGIC.into()),
        ("INFO", layout::INFO.into()),
        ("GET_LEASES", layout::GET_LEASES.into()),
        ("PREFAULT", layout::PREFAULT.into()),
        ("COUNTERS", layout::COUNTERS.into()),
        ("LEASE_WRITABLE", layout::LEASE_WRITABLE.into()),
        ("LEASE_LOSS_FAULT", layout::LEASE_LOSS_FAULT.into()),
        ("LEASE_WRITE_BACK", layout::LEASE_WRITE_BACK.into()),
        ("EVENT_CONNECTED", layout::EVENT_CONNECTED.into()),
        ("EVENT_LEASE", layout::EVENT_LEASE.into()),
        ("EVENT_ENDED", layout::EVENT_ENDED.into()),
        ("EVENT_REVOKED", layout::EVENT_REVOKED.into()),
        ("EVENT_LOST", layout::EVENT_LOST.into()),
        ("EVENT_CLOSING", layout::EVENT_CLOSING.into()),
        ("EVENT_PREFAULTED", layout::EVENT_PREFAULTED.into()),
        ("EVENT_LOOK_AGAIN", layout::EVENT_LOOK_AGAIN.into()),
        ("STATE_NONE", 0),
        ("STATE_CONNECTING", 1),
        ("STATE_CONNECTED", 2),
        ("STATE_CLOSED", 3),
        ("CLOSING_BACKEND", 1),
        ("CLOSING_BROKER", 2),
        ("CLOSING_BREACH", 3),
        ("CLOSING_VERSION", 4),
        ("PREFAULT_PRESENT", 0),
        ("PREFAULT_LOST", 1),
        ("PREFAULT_UNAVAILABLE", 2),
    ];
    let ended = [("PREFAULT_ENDED", 3)];
    pairs.into_iter().chain(ended).map(|(name, value)| (format!("XENLEND_GUEST_{name}"), value)).collect()
}

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../uapi/xenlend-guest.h")
}

/// The values that the C compiler gives to these expressions.
fn ask_the_c_compiler(name: &str, beliefs: &Beliefs) -> Beliefs {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let (source, program) = (directory.join(format!("{name}.c")), directory.join(name));
    let mut text = format!(
        "#include <stddef.h>\n#include <stdio.h>\n#include \"{}\"\nint main(void) {{\n",
        header().display()
    );
    for expression in beliefs.keys() {
        writeln!(text, "printf(\"{expression}\\t%llu\\n\", (unsigned long long)({expression}));").unwrap();
    }
    text.push_str("return 0; }\n");
    std::fs::write(&source, text).unwrap();
    let compiled = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-o"])
        .args([&program, &source])
        .status()
        .expect("a C compiler (cc) is needed for this test");
    assert!(compiled.success(), "the header does not compile or lacks a name");
    let output = Command::new(&program).output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn structures_have_the_layout_of_the_header() {
    assert_eq!(ask_the_c_compiler("guest-structures", &structures()), structures());
}

#[test]
fn numbers_are_those_of_the_header() {
    assert_eq!(ask_the_c_compiler("guest-numbers", &numbers()), numbers());
}

#[test]
fn nothing_of_the_header_is_forgotten() {
    let text = std::fs::read_to_string(header()).unwrap();
    let known = numbers();
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for word in words.filter(|word| word.starts_with("XENLEND_GUEST_") && !word.ends_with('_')) {
        assert!(known.contains_key(word), "{word} has no counterpart in Rust");
    }
}
