// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles `xenlend.h` with the C compiler and compares it with the Rust side.

#[macro_use]
#[path = "support/c_header.rs"]
mod c_header;

use std::mem::offset_of;
use std::path::{Path, PathBuf};

use c_header::{ask_the_c_compiler, forgotten, Beliefs};

use xenlend::layout::{
    self, AllowBar, Attach, AttachFrontend, Bind, Capability, Counters, Detach, DetachFrontend, RawEvent,
    RawRegion, RawRegion2, RawRegionInfo, RawResolve, Status, Version, Xen,
};
use xenlend::{number, FrameRefusal, LinkState, Reason};

fn structure_beliefs() -> Beliefs {
    let mut beliefs = Beliefs::new();
    believe_struct!(
        beliefs,
        Attach,
        "xenlend_attach",
        [
            borrower,
            broker,
            flags,
            aperture_address,
            aperture_size,
            deadline_ms,
            vcpus,
            ring_refs,
            event_channel,
            aperture_limit
        ]
    );
    believe_struct!(beliefs, Xen, "xenlend_xen", [borrower, reserved, flags]);
    believe_struct!(beliefs, Version, "xenlend_version", [version, oldest]);
    believe_struct!(beliefs, Capability, "xenlend_capability", [capability, reserved, value]);
    believe_struct!(beliefs, Detach, "xenlend_detach", [borrower, reserved]);
    believe_struct!(
        beliefs,
        AllowBar,
        "xenlend_allow_bar",
        [borrower, bar, devfn, segment, bus, reserved, frames]
    );
    believe_struct!(beliefs, Bind, "xenlend_bind", [borrower, reserved]);
    believe_struct!(
        beliefs,
        RawRegion,
        "xenlend_region",
        [slot, flags, guest_phys_addr, memory_size, userspace_addr]
    );
    believe_struct!(
        beliefs,
        RawRegion2,
        "xenlend_region2",
        [slot, flags, guest_phys_addr, memory_size, userspace_addr, label]
    );
    believe_struct!(
        beliefs,
        RawRegionInfo,
        "xenlend_region_info",
        [borrower, reserved, slot, flags, reserved2, guest_phys_addr, memory_size, label]
    );
    believe_struct!(
        beliefs,
        AttachFrontend,
        "xenlend_attach_frontend",
        [borrower, reserved, ring_refs, event_channel, failure, failure_errno]
    );
    believe_struct!(beliefs, DetachFrontend, "xenlend_detach_frontend", [borrower, reserved]);
    believe_struct!(beliefs, RawResolve, "xenlend_resolve", [slot, answer, guest_phys_addr, memory_size]);
    believe_struct!(beliefs, RawEvent, "xenlend_event", [kind as "type", slot, address, value]);
    believe_struct!(
        beliefs,
        Counters,
        "xenlend_counters",
        [
            invalidations,
            unrelated_invalidations,
            revoked_pages,
            stage2_faults,
            page_ins,
            adds_2mib,
            adds_4kib,
            laters,
            retries,
            migrations_to_vram,
            migrations_to_ram,
            dom0_mapping_hypercalls,
            pause_brackets,
            messages_sent,
            messages_received,
            forced_revocations,
            lies,
            deny_failures,
            lost_pages,
            refused_frames,
            present_pages,
            lent_bytes,
            revoke_ns_max,
            revoke_ns_p50,
            revoke_ns_p99,
            wants,
            borrower_attached
        ]
    );
    believe_struct!(
        beliefs,
        Status,
        "xenlend_status",
        [
            borrower,
            broker,
            next,
            state,
            reason,
            regions,
            protocol_version,
            flags,
            aperture_address,
            aperture_size,
            counters
        ]
    );
    beliefs
}

fn number_beliefs() -> Beliefs {
    let pairs: [(&str, u64); 64] = [
        ("XENLEND_API_VERSION", layout::API_VERSION.into()),
        ("XENLEND_VERSION", number::VERSION.into()),
        ("XENLEND_CAPABILITY", number::CAPABILITY.into()),
        ("XENLEND_CAP_SLOTS", layout::CAP_SLOTS.into()),
        ("XENLEND_CAP_LABEL_BYTES", layout::CAP_LABEL_BYTES.into()),
        ("XENLEND_CAP_REGION_FLAGS", layout::CAP_REGION_FLAGS.into()),
        ("XENLEND_CAP_LAST_EVENT", layout::CAP_LAST_EVENT.into()),
        ("XENLEND_CAP_RESOLVE", layout::CAP_RESOLVE.into()),
        ("XENLEND_CAP_COUNTERS", layout::CAP_COUNTERS.into()),
        ("XENLEND_ATTACH", number::ATTACH.into()),
        ("XENLEND_DETACH", number::DETACH.into()),
        ("XENLEND_ALLOW_BAR", number::ALLOW_BAR.into()),
        ("XENLEND_BIND", number::BIND.into()),
        ("XENLEND_STATUS", number::STATUS.into()),
        ("XENLEND_SET_USER_MEMORY_REGION", number::SET_USER_MEMORY_REGION.into()),
        ("XENLEND_SET_USER_MEMORY_REGION2", number::SET_USER_MEMORY_REGION2.into()),
        ("XENLEND_GET_REGION", number::GET_REGION.into()),
        ("XENLEND_RESOLVE", number::RESOLVE.into()),
        ("XENLEND_RESOLVE_RETRY", layout::RESOLVE_RETRY.into()),
        ("XENLEND_RESOLVE_LOSS", layout::RESOLVE_LOSS.into()),
        ("XENLEND_LABEL_BYTES", layout::LABEL_BYTES as u64),
        ("XENLEND_ATTACH_FRONTEND", number::ATTACH_FRONTEND.into()),
        ("XENLEND_DETACH_FRONTEND", number::DETACH_FRONTEND.into()),
        ("XENLEND_XEN", number::XEN.into()),
        ("XENLEND_STATUS_LEND_AWARE", layout::STATUS_LEND_AWARE.into()),
        ("XENLEND_REASON_OTHER_XEN", Reason::OtherXen.raw().into()),
        ("XENLEND_FRONTEND_NONE", layout::FRONTEND_NONE.into()),
        ("XENLEND_FRONTEND_GRANT", layout::FRONTEND_GRANT.into()),
        ("XENLEND_FRONTEND_EVENT_CHANNEL", layout::FRONTEND_EVENT_CHANNEL.into()),
        ("XENLEND_FRONTEND_IN_USE", layout::FRONTEND_IN_USE.into()),
        ("XENLEND_RING_REFS", layout::RING_REFS as u64),
        ("XENLEND_MAX_REGIONS", layout::MAX_REGIONS.into()),
        ("XENLEND_APERTURE_DEFAULT_LIMIT", layout::APERTURE_DEFAULT_LIMIT),
        ("XENLEND_APERTURE_MAX", layout::APERTURE_MAX),
        ("XENLEND_ATTACH_CHECK", layout::ATTACH_CHECK.into()),
        ("XENLEND_REGION_READONLY", layout::REGION_READONLY.into()),
        ("XENLEND_REGION_LOSS_FAULT", layout::REGION_LOSS_FAULT.into()),
        ("XENLEND_REGION_WRITE_BACK", layout::REGION_WRITE_BACK.into()),
        ("XENLEND_EVENT_CONNECTED", layout::EVENT_CONNECTED.into()),
        ("XENLEND_EVENT_LOST", layout::EVENT_LOST.into()),
        ("XENLEND_EVENT_BROKER_FORCED", layout::EVENT_BROKER_FORCED.into()),
        ("XENLEND_EVENT_BROKER_CONDEMNED", layout::EVENT_BROKER_CONDEMNED.into()),
        ("XENLEND_EVENT_DETACHED", layout::EVENT_DETACHED.into()),
        ("XENLEND_EVENT_REFUSED", layout::EVENT_REFUSED.into()),
        ("XENLEND_EVENT_OVERFLOW", layout::EVENT_OVERFLOW.into()),
        ("XENLEND_STATE_CONNECTING", LinkState::Connecting.raw().into()),
        ("XENLEND_STATE_CONNECTED", LinkState::Connected.raw().into()),
        ("XENLEND_STATE_FORCED", LinkState::Forced.raw().into()),
        ("XENLEND_STATE_CONDEMNED", LinkState::Condemned.raw().into()),
        ("XENLEND_REASON_NONE", Reason::None.raw().into()),
        ("XENLEND_REASON_DEADLINE", Reason::Deadline.raw().into()),
        ("XENLEND_REASON_BROKER_GONE", Reason::BrokerGone.raw().into()),
        ("XENLEND_REASON_BREACH", Reason::Breach.raw().into()),
        ("XENLEND_REASON_INCOMPATIBLE", Reason::Incompatible.raw().into()),
        ("XENLEND_REASON_REMOVE_FAILED", Reason::RemoveFailed.raw().into()),
        ("XENLEND_REASON_LIED", Reason::Lied.raw().into()),
        ("XENLEND_REASON_BORROWER_GONE", Reason::BorrowerGone.raw().into()),
        ("XENLEND_FRAME_FOREIGN", FrameRefusal::Foreign.raw().into()),
        ("XENLEND_FRAME_OTHER_MMIO", FrameRefusal::OtherMmio.raw().into()),
        ("XENLEND_FRAME_MSIX", FrameRefusal::Msix.raw().into()),
        ("XENLEND_FRAME_SPECIAL", FrameRefusal::Special.raw().into()),
        ("XENLEND_FRAME_READONLY", FrameRefusal::Readonly.raw().into()),
        ("XENLEND_FRAME_UNMAPPED", FrameRefusal::Unmapped.raw().into()),
        ("XENLEND_FRAME_SECRET", FrameRefusal::Secret.raw().into()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn header() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../uapi/xenlend.h")
}

#[test]
fn structures_have_the_layout_of_the_header() {
    let beliefs = structure_beliefs();
    assert_eq!(ask_the_c_compiler(&header(), "structures", &beliefs), beliefs);
}

#[test]
fn numbers_are_those_of_the_header() {
    let beliefs = number_beliefs();
    assert_eq!(ask_the_c_compiler(&header(), "numbers", &beliefs), beliefs);
}

#[test]
fn nothing_of_the_header_is_forgotten() {
    let mut known = number_beliefs();
    // Part of every ioctl's number, which are compared.
    known.insert("XENLEND_IOC_MAGIC".to_owned(), 0);
    assert_eq!(forgotten(&header(), "XENLEND_", &known), Vec::<String>::new());
}
