// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scenarios that `cargo xtask test` runs in the lab, by the boot that they share.

use crate::boot::{show, unzapped, with_driver, Boot, Driver, InForm, PLAIN};
use crate::hypervisor::Flavour;

/// Why there are no saved machines with a certain device.
const NOT_SAVED: &str = "QEMU cannot save the emulated IOMMU";

/// Why there are none with two processors.
const TWO_PROCESSORS: &str =
    "a machine with two emulated processors has not been seen to survive being saved";

/// All of them.
pub const BOOTS: &[Boot] = &[
    // What the lab itself promises, without any part of xenlend.
    Boot {
        name: "lab",
        guests: 2,
        timeout_s: 600,
        broker: false,
        whole: Some("its own boot is what it is about"),
        scenarios: &[
            show("guest_exec_passes_output_input_and_status", "lab/guest-exec.sh", &[]),
            show("guest_exec_serves_many_callers_at_once", "lab/guest-exec-concurrent.sh", &[]),
            show("guests_leave_the_aperture_free", "lab/aperture.sh", &[]),
            show("a_script_gets_a_picture", "lab/screenshot.sh", &[]),
            show("guest_exec_tells_of_a_guest_that_dies", "lab/guest-dies.sh", &[]),
        ],
        ..PLAIN
    },
    // The tool, and what others may do to it: a guest that claims too much, a stranger of a broker's name.
    Boot {
        name: "tool",
        open: Some("has not been run on lend-aware Xen yet"),
        on_lend: Some("tool@lend"),
        broker: false,
        timeout_s: 900,
        scenarios: &[
            show("a_guest_cannot_claim_more_than_is_allowed", "aperture-limit.sh", &[]),
            show("domains_are_known_by_their_uuids_and_not_by_name", "strangers.sh", &[]),
            show("a_saved_guest_is_restored_without_its_leases_and_is_lent_to_again", "saved.sh", &[]),
        ],
        ..PLAIN
    },
    // A healthy broker, two vCPUs; dom0's kernel poisons what it frees.
    Boot {
        name: "lending",
        on_lend: Some("lending@lend"),
        forms: &[with_driver("lending+driver"), unzapped("lending+unzapped")],
        vcpus: 2,
        dom0_cmdline: "page_poison=1 iomem=relaxed",
        timeout_s: 1500,
        scenarios: &[
            show("vram_and_ram_of_bochs_are_shared_across_migrations", "share-display.sh", &[]),
            show("buffers_of_virtio_gpu_are_shared", "share-other.sh", &["dumb", "virtio_gpu", "1"]),
            show("buffers_of_vgem_are_shared", "share-other.sh", &["dumb", "vgem", "1"]),
            show("a_memfd_is_shared", "share-other.sh", &["memfd", "4M"]),
            show("holes_in_a_memfd_show_at_once", "share-holes.sh", &["memfd", "1M"]),
            show("anonymous_memory_is_shared", "share-holes.sh", &["anonymous", "1M"]),
            show("present_memory_is_shared_without_the_broker", "shared-without-broker.sh", &[]),
            show("the_steady_state_is_free", "steady-state.sh", &[]),
            show("locked_counters_are_exact", "locked-counter.sh", &[]),
            show("increments_of_absent_pages_get_lost_without_the_driver", "counters-lost.sh", &["100"])
                .on_stock("accesses done for the guest")
                .only(InForm::NoDriver("what happens without it")),
            show("no_interrupt_is_lost_where_an_access_faults_half_way", "straddle.sh", &["300"])
                .only(InForm::Zapping("a zapped page behind an absent one")),
            show("every_instruction_works_on_revoked_frames", "instructions.sh", &["own", "4"]),
            show("every_instruction_works_on_a_revoked_memfd", "instructions.sh", &["memfd", "16K"]),
            show("a_rep_stos_outstanding_means_later", "later.sh", &[])
                .on_stock("Later")
                .only(InForm::NoZaps("else the string meets a fault of the guest's kernel first")),
            show("no_stale_access_to_frames_of_a_driver", "stale-own.sh", &["2000"]),
            show("no_stale_access_to_holes_in_a_memfd", "stale-holes.sh", &["2000"]),
            show("runs_of_2_mib_are_lent_and_revoked_whole", "two-mib.sh", &[]),
            show("pages_whose_first_entry_is_read_only_are_lent_whole", "first-read-only.sh", &[]),
            show("munmap_revokes", "process-end.sh", &["unmap"]),
            show("mremap_revokes", "process-end.sh", &["move"]),
            show("exit_revokes", "process-end.sh", &["exit"]),
            show("sigkill_revokes", "process-end.sh", &["kill"]),
            show("closing_the_descriptor_revokes", "process-end.sh", &["close"]),
            show("frames_that_may_not_be_lent_are_refused", "frames-refused.sh", &[]),
            show("a_card_that_leaves_its_driver_or_goes_is_lent_no_more", "card-removed.sh", &[]),
            show("writes_wait_while_the_lender_may_only_read", "write-waits.sh", &[]),
            show("pages_come_in_the_order_of_their_answers", "answers-in-any-order.sh", &[]),
            show("a_process_that_nobody_can_look_into_holds_no_other_up", "held-up.sh", &[]),
            show("wrong_arguments_are_refused_and_change_nothing", "arguments-refused.sh", &[]),
            show("a_frontend_that_names_nonsense_is_refused", "frontend-nonsense.sh", &[])
                .only(InForm::NoDriver("dom0 writes the nodes in its place")),
            show("a_broker_that_was_paused_too_long_goes_on", "forced-and-resumed.sh", &[]),
            show("without_zaps_the_second_stage_enforces", "frontend-unzapped.sh", &[])
                .only(InForm::Unzapped("programs keep their entries")),
        ],
        ..PLAIN
    },
    // The borrower's kernel module: a touch of an absent page is a page fault of the guest's kernel.
    Boot {
        name: "frontend",
        on_lend: Some("frontend@lend"),
        driver: Driver::With,
        timeout_s: 1500,
        scenarios: &[
            show("memory_is_shared_through_the_driver", "frontend-shared.sh", &[]),
            show("leases_are_listed_with_their_labels", "frontend-labels.sh", &[]),
            show("odd_uses_of_a_mapping_have_their_results", "frontend-odd.sh", &[]),
            show("pages_brought_in_before_make_nobody_sleep", "frontend-prefault.sh", &[]),
            show("a_mapping_ends_with_its_lease", "frontend-ended.sh", &[]),
            show("runs_of_2_mib_are_one_entry_for_programs", "frontend-two-mib.sh", &[]),
            show("lost_pages_are_zeros_or_a_bus_error", "frontend-loss.sh", &[]),
            show("a_program_chooses_how_a_lease_is_mapped", "frontend-types.sh", &[]),
            show("only_the_task_that_waits_stands_still", "frontend-wait.sh", &[]),
            show("a_guest_freezes_whoever_waits", "frontend-freeze.sh", &[]),
            show("a_checkpoint_ends_mappings_and_leases_come_anew", "frontend-saved.sh", &[]),
            show("a_restored_guest_is_lent_to_again", "frontend-restored.sh", &[]),
            show("the_driver_survives_its_broker", "frontend-restart.sh", &[]),
            show("a_broker_is_replaced_while_the_guest_is_paused", "frontend-replaced.sh", &[]),
            show("dom0_suspends_and_its_leases_come_back", "suspend.sh", &[]),
            show("a_guest_that_reserves_nothing_reboots_and_borrows_again", "frontend-reboot.sh", &[]),
        ],
        ..PLAIN
    },
    // One vCPU and two tasks.
    Boot {
        name: "share",
        on_lend: Some("share@lend"),
        driver: Driver::With,
        timeout_s: 600,
        scenarios: &[show("who_does_not_wait_has_the_processor", "frontend-share.sh", &["8"])],
        ..PLAIN
    },
    // A lender that never answers for a page.
    Boot {
        name: "unanswered",
        on_lend: Some("unanswered@lend"),
        guests: 2,
        driver: Driver::With,
        timeout_s: 600,
        scenarios: &[show("a_lender_that_never_answers_stops_one_task", "frontend-unanswered.sh", &[])],
        ..PLAIN
    },
    // Two vCPUs, and nothing but work on pages that move.
    Boot {
        name: "counters",
        on_lend: Some("counters@lend"),
        driver: Driver::With,
        vcpus: 2,
        timeout_s: 1500,
        scenarios: &[show("locked_counters_are_exact_over_2000_migrations", "counters-moving.sh", &["2000"])],
        ..PLAIN
    },
    // A window far larger than the guest, little of it there. Xen takes the page tables of the window, one
    // for each 2 MiB, from the guest's paging pool, which by default is sized for its memory.
    Boot {
        name: "sparse",
        on_lend: Some("sparse@lend"),
        driver: Driver::With,
        guest_memory_mib: 160,
        aperture: "4G",
        guest_config: &["shadow_memory = 24"],
        timeout_s: 2400,
        scenarios: &[
            show("a_sparse_window_of_4_gib_is_shared", "sparse-shared.sh", &["33000"]),
            show("a_mapping_never_shows_the_next_lease", "sparse-reused.sh", &["4"]),
        ],
        ..PLAIN
    },
    // As long as all of the above together, so beside them.
    Boot {
        name: "migrations",
        on_lend: Some("migrations@lend"),
        forms: &[with_driver("migrations+driver"), unzapped("migrations+unzapped").open("passed once")],
        vcpus: 2,
        dom0_cmdline: "page_poison=1 iomem=relaxed",
        timeout_s: 1500,
        scenarios: &[show("no_stale_access_over_2000_migrations", "stale-display.sh", &["2000"])],
        ..PLAIN
    },
    Boot {
        name: "pressure",
        on_lend: Some("pressure@lend"),
        forms: &[
            with_driver("pressure+driver").open("passed once"),
            unzapped("pressure+unzapped").open("passed once"),
        ],
        timeout_s: 600,
        vcpus: 2,
        scenarios: &[
            show("lent_memory_may_be_swapped_out", "reclaim.sh", &["8"]),
            show("running_out_of_memory_neither_blocks_nor_leaks", "pressure.sh", &[]),
        ],
        ..PLAIN
    },
    // Each takes its guest with it and begins with a new one. The last two show that the scenarios
    // about stale access prove something: a broken broker fails them.
    Boot {
        name: "fallback",
        on_lend: Some("fallback@lend"),
        forms: &[with_driver("fallback+driver"), unzapped("fallback+unzapped").open("passed once")],
        vcpus: 2,
        timeout_s: 1500,
        scenarios: &[
            show("a_destroyed_broker_leaves_no_stale_access", "fallback.sh", &["destroy"]),
            show("a_paused_broker_leaves_no_stale_access", "fallback.sh", &["pause"]),
            show("a_looping_broker_leaves_no_stale_access", "fallback.sh", &["loop"]),
            show("a_creeping_broker_holds_nobody_up", "fallback.sh", &["creep"]),
            show("a_babbling_broker_holds_nobody_up", "fallback.sh", &["babble"]),
            show("a_broker_that_lies_is_found_out_in_check_mode", "liar.sh", &[]),
            show("a_broker_leaves_a_guest_that_goes_on", "down.sh", &[]),
            show("a_destroyed_guest_leaves_nothing_behind", "guest-destroyed.sh", &[]),
            show("a_broker_that_does_not_remove_is_noticed", "stale-own-control.sh", &["skip-unmap", "200"]),
            show("a_broker_that_removes_too_late_is_noticed", "stale-own-control.sh", &["ack-first", "2000"]),
        ],
        ..PLAIN
    },
    // Borrowers that do their worst: see boot/scenarios/BUGS.md.
    Boot {
        name: "borrowers",
        on_lend: Some("borrowers@lend"),
        forms: &[with_driver("borrowers+driver"), unzapped("borrowers+unzapped").open("passed once")],
        guests: 2,
        vcpus: 2,
        timeout_s: 900,
        scenarios: &[
            show("a_paused_guest_holds_no_revocation_up", "guest-paused.sh", &[]),
            show("a_storm_of_accesses_costs_the_other_guest_nothing", "access-storm.sh", &[]),
        ],
        ..PLAIN
    },
    // The whole of it at once: guests with the driver, a broker each.
    Boot {
        name: "four-guests",
        on_lend: Some("four-guests@lend"),
        guests: 4,
        guest_memory_mib: 192,
        driver: Driver::With,
        timeout_s: 1500,
        scenarios: &[show("one_hostile_guest_costs_the_others_nothing", "four-guests.sh", &[])],
        ..PLAIN
    },
    Boot {
        name: "race",
        vcpus: 2,
        pcpus: 2,
        whole: Some(TWO_PROCESSORS),
        timeout_s: 1500,
        scenarios: &[
            show("two_processors_survive_20000_adds", "race.sh", &["20000"]).on_stock("the pause bracket")
        ],
        ..PLAIN
    },
    Boot {
        name: "race-control",
        vcpus: 2,
        pcpus: 2,
        whole: Some(TWO_PROCESSORS),
        timeout_s: 900,
        scenarios: &[show("without_the_pause_bracket_the_guest_dies", "race-control.sh", &["8"])
            .on_stock("the pause bracket")],
        ..PLAIN
    },
    // The faults of Xen that boot/xen mends: what kills somebody on stock Xen is harmless on the mended one.
    Boot {
        name: "race-mended",
        open: Some("passed once"),
        xen: Flavour::Mended,
        vcpus: 2,
        pcpus: 2,
        whole: Some(TWO_PROCESSORS),
        timeout_s: 900,
        scenarios: &[show("the_mended_xen_needs_no_pause_bracket", "race.sh", &["3000", "unpaused"])],
        ..PLAIN
    },
    Boot {
        name: "stos-control",
        vcpus: 2,
        broker: false,
        timeout_s: 600,
        scenarios: &[
            show("a_page_added_under_a_rep_stos_kills", "stos.sh", &["page", "dies"]),
            show("a_page_added_under_one_element_kills", "stos.sh", &["across", "dies"]),
            show("elements_across_scattered_pages_kill_too", "stos.sh", &["scattered", "dies"]),
        ],
        ..PLAIN
    },
    Boot {
        name: "stos-mended",
        xen: Flavour::Mended,
        vcpus: 2,
        broker: false,
        timeout_s: 600,
        scenarios: &[
            show("a_rep_stos_outlives_its_page_being_added", "stos.sh", &["page", "lives"]),
            show("one_element_outlives_its_page_being_added", "stos.sh", &["across", "lives"]),
            show("elements_across_scattered_pages_do_not_kill", "stos.sh", &["scattered", "lives"]),
        ],
        ..PLAIN
    },
    Boot {
        name: "grant-control",
        xen: Flavour::StockDebug,
        panic: Some("Assertion 'unreachable' failed at common/grant_table.c"),
        whole: Some("Xen panics in it, and a boot of its own is what such a report would come from"),
        scenarios: &[show("a_granted_lent_page_panics_a_debug_xen", "lent-page.sh", &["grant"])],
        ..PLAIN
    },
    Boot {
        name: "string-control",
        xen: Flavour::StockDebug,
        panic: Some("Assertion 'unreachable' failed at arch/x86/hvm/emulate.c"),
        whole: Some("Xen panics in it, and a boot of its own is what such a report would come from"),
        scenarios: &[show(
            "a_string_that_ends_in_a_lent_page_panics_a_debug_xen",
            "lent-page.sh",
            &["string"],
        )],
        ..PLAIN
    },
    Boot {
        name: "debug-mended",
        xen: Flavour::MendedDebug,
        scenarios: &[
            show("a_granted_lent_page_is_refused", "lent-page.sh", &["grant"]),
            show("a_string_that_ends_in_a_lent_page_is_stored", "lent-page.sh", &["string"]),
        ],
        ..PLAIN
    },
    // The same with all patches: a lent page has a type of its own there. What is not lent is no emulated memory
    // there but a fault, so there is no string to begin in it.
    Boot {
        name: "debug-lend",
        open: Some("builds one more Xen"),
        xen: Flavour::LendDebug,
        scenarios: &[show("a_granted_page_of_a_lent_type_is_refused", "lent-page.sh", &["grant"])],
        ..PLAIN
    },
    // What stock Xen cannot do: without a driver in the guest, its own instructions meet pages that come and go.
    Boot {
        name: "lend-only",
        xen: Flavour::Lend,
        vcpus: 2,
        timeout_s: 1500,
        scenarios: &[
            show("locked_counters_are_exact_through_500_revocations", "locked-revoked.sh", &["500"]),
            show("what_is_lent_for_reading_is_never_written", "read-only.sh", &[]),
            show("a_lost_page_is_a_precise_fault_or_zeros", "loss-precise.sh", &[]),
            show("a_vcpu_that_waits_outlives_its_broker", "broker-killed.sh", &["5"]),
        ],
        ..PLAIN
    },
    // A dom0 whose frames are its own numbers, as a guest's are.
    Boot {
        name: "lend-pvh-dom0",
        xen: Flavour::Lend,
        xen_cmdline: "dom0=pvh",
        devices: &["amd-iommu,pt=off"],
        whole: Some(NOT_SAVED),
        vcpus: 2,
        dom0_cmdline: "page_poison=1 iomem=relaxed",
        timeout_s: 1500,
        scenarios: &[
            show("vram_and_ram_of_bochs_are_shared_across_migrations", "share-display.sh", &[]),
            show("a_memfd_is_shared", "share-other.sh", &["memfd", "4M"]),
            show("anonymous_memory_is_shared", "share-holes.sh", &["anonymous", "1M"]),
            show("no_stale_access_to_frames_of_a_driver", "stale-own.sh", &["200"]),
            show("runs_of_2_mib_are_lent_and_revoked_whole", "two-mib.sh", &[]),
            show("exit_revokes", "process-end.sh", &["exit"]),
            show("sigkill_revokes", "process-end.sh", &["kill"]),
            show("frames_that_may_not_be_lent_are_refused", "frames-refused.sh", &[]),
            show("what_is_lent_for_reading_is_never_written", "read-only.sh", &[]),
        ],
        ..PLAIN
    },
    // Xen's own part of lending: the operations from dom0, nobody else being there. With assertions too.
    Boot {
        name: "lend-probe",
        xen: Flavour::Lend,
        broker: false,
        scenarios: &[show("xen_lends_revokes_and_refuses", "lend-probe.sh", &[])],
        ..PLAIN
    },
    Boot {
        name: "lend-probe-debug",
        open: Some("builds one more Xen"),
        xen: Flavour::LendDebug,
        broker: false,
        scenarios: &[show("no_assertion_of_xen_fails_while_it_lends", "lend-probe.sh", &[])],
        ..PLAIN
    },
    // A race of Xen's emulator with a batch.
    Boot {
        name: "lend-across",
        open: Some("not seen yet"),
        xen: Flavour::Lend,
        broker: false,
        pcpus: 2,
        whole: Some(TWO_PROCESSORS),
        scenarios: &[show("no_access_of_xen_s_emulator_leaves_a_lent_page", "lend-across.sh", &["20000"])],
        ..PLAIN
    },
    // Under Flask: every permission of lending, given and not given.
    Boot {
        name: "lend-flask",
        open: Some("builds one more Xen"),
        xen: Flavour::LendFlask,
        guests: 2,
        broker: false,
        guest_config: &["seclabel = 'system_u:system_r:lab_borrower_t'"],
        timeout_s: 900,
        scenarios: &[
            show("flask_permits_each_part_of_lending_by_itself", "flask.sh", &[]),
            show("the_broker_domain_lends_under_flask", "flask-broker.sh", &[]),
        ],
        ..PLAIN
    },
    // What only lend-aware Xen can keep: instructions that it runs again, vCPUs that outlive their broker's end.
    Boot {
        name: "lend-more",
        open: Some("takes a quarter of an hour"),
        xen: Flavour::Lend,
        vcpus: 2,
        timeout_s: 2400,
        scenarios: &[
            show("every_instruction_is_run_again_while_pages_come_and_go", "retried.sh", &[]),
            show("a_broker_may_be_killed_at_any_moment", "killed-anywhere.sh", &["50"]),
        ],
        ..PLAIN
    },
    // One broker for three.
    Boot {
        name: "lend-shared",
        xen: Flavour::Lend,
        guests: 3,
        guest_memory_mib: 192,
        broker: false,
        timeout_s: 900,
        scenarios: &[show("one_broker_serves_three_guests", "three-borrowers.sh", &[])],
        ..PLAIN
    },
    Boot {
        name: "lend-shared-killed",
        open: Some("takes half an hour"),
        xen: Flavour::Lend,
        broker: false,
        timeout_s: 3600,
        scenarios: &[show(
            "a_broker_of_three_unikernels_may_be_killed_at_any_moment",
            "killed-shared.sh",
            &["50"],
        )],
        ..PLAIN
    },
    // Xen's own part again: the lender's kernel gives away what it lends.
    Boot {
        name: "lend-given-back",
        open: Some("builds one more Xen"),
        xen: Flavour::LendDebug,
        guests: 2,
        broker: false,
        scenarios: &[show("lent_pages_given_back_to_xen_are_nobodys_until_revoked", "given-back.sh", &[])],
        ..PLAIN
    },
    // And with a guest as the lender, whose frames are not the machine's.
    Boot {
        name: "lend-guest-lender",
        open: Some("builds one more Xen"),
        xen: Flavour::LendDebug,
        guests: 2,
        broker: false,
        scenarios: &[show("a_guest_lends_its_pages_until_it_is_destroyed", "guest-lender.sh", &[])],
        ..PLAIN
    },
    // A borrower with a device of the machine: what is lent is out of the device's reach.
    Boot {
        name: "lend-passthrough",
        xen: Flavour::Lend,
        guests: 0,
        broker: false,
        devices: &["amd-iommu,pt=off", "edu"],
        whole: Some(NOT_SAVED),
        scenarios: &[
            show("no_device_reaches_a_lent_page", "lend-passthrough.sh", &[]),
            show("a_device_reaches_what_is_mapped_as_on_stock_xen", "passthrough-control.sh", &[]),
            show("a_domain_with_a_device_may_borrow", "attach-device.sh", &[]),
        ],
        ..PLAIN
    },
    // On stock Xen it would be within reach, so the lender's module refuses.
    Boot {
        name: "passthrough-refused",
        guests: 0,
        broker: false,
        devices: &["amd-iommu,pt=off", "edu"],
        whole: Some(NOT_SAVED),
        scenarios: &[
            show("a_device_reaches_what_stock_xen_maps", "passthrough-control.sh", &[]),
            show("nothing_is_lent_to_a_domain_with_a_device", "attach-device.sh", &[]),
        ],
        ..PLAIN
    },
    // With assertions: a hostile borrower's calls, and a card whose driver leaves it.
    Boot {
        name: "lend-hostile-debug",
        open: Some("builds one more Xen"),
        xen: Flavour::LendDebug,
        vcpus: 2,
        timeout_s: 900,
        scenarios: &[
            show("no_hypercall_reaches_a_lent_page", "hypercalls.sh", &[]),
            show("a_card_that_is_unplugged_is_lent_no_more", "unplugged.sh", &[]),
        ],
        ..PLAIN
    },
];

#[cfg(test)]
mod tests {
    use super::BOOTS;

    #[test]
    fn what_the_emulator_cannot_save_is_booted() {
        for boot in BOOTS.iter().filter(|boot| boot.devices.iter().any(|device| device.contains("iommu"))) {
            assert!(boot.whole.is_some(), "{}", boot.name);
        }
    }
}
