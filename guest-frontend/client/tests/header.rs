// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! Compiles `xenlend-guest.h` with the C compiler and compares it with the Rust side.

#[macro_use]
#[path = "../../../dom0-shim/cli/tests/support/c_header.rs"]
mod c_header;

use std::mem::offset_of;
use std::path::{Path, PathBuf};

use c_header::{ask_the_c_compiler, forgotten, Beliefs};

use xenlend_guest::layout::{self, Counters, RawEvent, RawInfo, RawLease, RawLeases, RawPrefault};

fn structures() -> Beliefs {
    let mut beliefs = Beliefs::new();
    believe_struct!(
        beliefs,
        RawInfo,
        "xenlend_guest_info",
        [api_version, state, aperture_address, aperture_bytes, capabilities]
    );
    believe_struct!(
        beliefs,
        RawLease,
        "xenlend_guest_lease",
        [index, generation, serial, offset, bytes, flags, reserved, label]
    );
    believe_struct!(
        beliefs,
        RawLeases,
        "xenlend_guest_leases",
        [leases, capacity, count, lease_bytes, reserved]
    );
    believe_struct!(beliefs, RawPrefault, "xenlend_guest_prefault", [offset, bytes, cookie]);
    believe_struct!(beliefs, RawEvent, "xenlend_guest_event", [kind as "type", status, offset, bytes, value]);
    believe_struct!(
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
    let pairs: [(&str, u64); 31] = [
        ("API_VERSION", 3),
        ("CAP_MAP_TYPES", layout::CAP_MAP_TYPES),
        ("MAP_COHERENT", layout::MAP_COHERENT),
        ("MAP_UNCACHED", layout::MAP_UNCACHED),
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
    let ended = [("PREFAULT_ENDED", 3), ("LABEL_BYTES", layout::LABEL_BYTES as u64)];
    pairs.into_iter().chain(ended).map(|(name, value)| (format!("XENLEND_GUEST_{name}"), value)).collect()
}

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../uapi/xenlend-guest.h")
}

#[test]
fn structures_have_the_layout_of_the_header() {
    assert_eq!(ask_the_c_compiler(&header(), "guest-structures", &structures()), structures());
}

#[test]
fn numbers_are_those_of_the_header() {
    assert_eq!(ask_the_c_compiler(&header(), "guest-numbers", &numbers()), numbers());
}

#[test]
fn nothing_of_the_header_is_forgotten() {
    assert_eq!(forgotten(&header(), "XENLEND_GUEST_", &numbers()), Vec::<String>::new());
}
