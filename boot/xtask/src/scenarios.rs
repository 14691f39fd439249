// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scenarios that `cargo xtask test` runs in the lab, by the boot that they share.

/// A boot of the lab and the scenarios that run in it, one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Boot {
    /// Its name: the folder of its logs.
    pub name: &'static str,
    /// Number of guests.
    pub guests: u32,
    /// Virtual CPUs of each guest.
    pub vcpus: u32,
    /// CPUs of the emulated machine: 1 unless the scenarios need real races.
    pub pcpus: u32,
    /// Memory of each guest, in MiB.
    pub guest_memory_mib: u32,
    /// Size of the window for lent memory.
    pub aperture: &'static str,
    /// Whether each guest gets its broker before the scenarios start.
    pub broker: bool,
    /// Added to dom0's command line.
    pub dom0_cmdline: &'static str,
    /// Added to the guests' command line.
    pub guest_cmdline: &'static str,
    /// Whether the guests load the borrower's kernel module.
    pub frontend: bool,
    /// Lines added to the guests' xl files.
    pub guest_config: &'static [&'static str],
    /// Devices added to the emulated machine.
    pub devices: &'static [&'static str],
    /// Seconds from power-on after which the run is ended.
    pub timeout_s: u64,
    /// What runs, in this order.
    pub scenarios: &'static [Scenario],
}

/// One scenario.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it shows, as a sentence in snake case; its folder in $OUT has this name.
    pub name: &'static str,
    /// Its script, below boot/scenarios/scripts.
    pub script: &'static str,
    /// What the script gets as its arguments.
    pub arguments: &'static [&'static str],
}

/// A boot with one guest that has a broker, and nothing special.
pub const PLAIN: Boot = Boot {
    name: "plain",
    guests: 1,
    vcpus: 1,
    pcpus: 1,
    guest_memory_mib: 256,
    aperture: "256M",
    broker: true,
    dom0_cmdline: "",
    guest_cmdline: "",
    frontend: false,
    guest_config: &[],
    devices: &[],
    timeout_s: 300,
    scenarios: &[],
};

/// A scenario, in one line.
const fn show(name: &'static str, script: &'static str, arguments: &'static [&'static str]) -> Scenario {
    Scenario { name, script, arguments }
}

/// All of them.
pub const BOOTS: &[Boot] = &[
    // What the lab itself promises, without any part of xenlend.
    Boot {
        name: "lab",
        guests: 2,
        timeout_s: 600,
        broker: false,
        scenarios: &[
            Scenario {
                name: "guest_exec_passes_output_input_and_status",
                script: "lab/guest-exec.sh",
                arguments: &[],
            },
            Scenario {
                name: "guest_exec_serves_many_callers_at_once",
                script: "lab/guest-exec-concurrent.sh",
                arguments: &[],
            },
            Scenario { name: "guests_leave_the_aperture_free", script: "lab/aperture.sh", arguments: &[] },
            Scenario { name: "a_script_gets_a_picture", script: "lab/screenshot.sh", arguments: &[] },
            Scenario {
                name: "guest_exec_tells_of_a_guest_that_dies",
                script: "lab/guest-dies.sh",
                arguments: &[],
            },
        ],
        ..PLAIN
    },
    // A healthy broker, two vCPUs; dom0's kernel poisons what it frees.
    Boot {
        name: "lending",
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
            show("every_instruction_works_on_revoked_frames", "instructions.sh", &["own", "4"]),
            show("every_instruction_works_on_a_revoked_memfd", "instructions.sh", &["memfd", "16K"]),
            show("a_rep_stos_outstanding_means_later", "later.sh", &[]),
            show("no_stale_access_to_frames_of_a_driver", "stale-own.sh", &["2000"]),
            show("no_stale_access_to_holes_in_a_memfd", "stale-holes.sh", &["2000"]),
            show("runs_of_2_mib_are_lent_and_revoked_whole", "two-mib.sh", &[]),
            show("munmap_revokes", "process-end.sh", &["unmap"]),
            show("mremap_revokes", "process-end.sh", &["move"]),
            show("exit_revokes", "process-end.sh", &["exit"]),
            show("sigkill_revokes", "process-end.sh", &["kill"]),
            show("closing_the_descriptor_revokes", "process-end.sh", &["close"]),
            show("frames_that_may_not_be_lent_are_refused", "frames-refused.sh", &[]),
            show("wrong_arguments_are_refused_and_change_nothing", "arguments-refused.sh", &[]),
            show("a_frontend_that_names_nonsense_is_refused", "frontend-nonsense.sh", &[]),
            show("a_broker_that_was_paused_too_long_goes_on", "forced-and-resumed.sh", &[]),
        ],
        ..PLAIN
    },
    // The borrower's kernel module: a touch of an absent page is a page fault of the guest's kernel.
    Boot {
        name: "frontend",
        frontend: true,
        timeout_s: 900,
        scenarios: &[
            show("memory_is_shared_through_the_driver", "frontend-shared.sh", &[]),
            show("odd_uses_of_a_mapping_have_their_results", "frontend-odd.sh", &[]),
            show("pages_brought_in_before_make_nobody_sleep", "frontend-prefault.sh", &[]),
            show("a_mapping_ends_with_its_lease", "frontend-ended.sh", &[]),
            show("runs_of_2_mib_are_one_entry_for_programs", "frontend-two-mib.sh", &[]),
            show("lost_pages_are_zeros_or_a_bus_error", "frontend-loss.sh", &[]),
            show("only_the_task_that_waits_stands_still", "frontend-wait.sh", &[]),
            show("the_driver_survives_its_broker", "frontend-restart.sh", &[]),
            show("who_does_not_wait_has_the_processor", "frontend-share.sh", &["8"]),
        ],
        ..PLAIN
    },
    // A window far larger than the guest, little of it there. Xen takes the page tables of the window, one
    // for each 2 MiB, from the guest's paging pool, which by default is sized for its memory.
    Boot {
        name: "sparse",
        frontend: true,
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
        vcpus: 2,
        dom0_cmdline: "page_poison=1 iomem=relaxed",
        timeout_s: 1500,
        scenarios: &[show("no_stale_access_over_2000_migrations", "stale-display.sh", &["2000"])],
        ..PLAIN
    },
    Boot {
        name: "pressure",
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
        vcpus: 2,
        timeout_s: 1500,
        scenarios: &[
            show("a_destroyed_broker_leaves_no_stale_access", "fallback.sh", &["destroy"]),
            show("a_paused_broker_leaves_no_stale_access", "fallback.sh", &["pause"]),
            show("a_looping_broker_leaves_no_stale_access", "fallback.sh", &["loop"]),
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
        guests: 2,
        vcpus: 2,
        timeout_s: 900,
        scenarios: &[
            show("a_paused_guest_holds_no_revocation_up", "guest-paused.sh", &[]),
            show("a_storm_of_accesses_costs_the_other_guest_nothing", "access-storm.sh", &[]),
        ],
        ..PLAIN
    },
    Boot {
        name: "race",
        vcpus: 2,
        pcpus: 2,
        timeout_s: 1500,
        scenarios: &[show("two_processors_survive_20000_adds", "race.sh", &["20000"])],
        ..PLAIN
    },
    Boot {
        name: "race-control",
        vcpus: 2,
        pcpus: 2,
        timeout_s: 900,
        scenarios: &[show("without_the_pause_bracket_the_guest_dies", "race-control.sh", &["8"])],
        ..PLAIN
    },
];
