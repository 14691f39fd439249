// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core of the scenarios: what `cargo xtask test` runs without `--full`, in some twenty minutes. It touches
//! every part on both kinds of Xen; the rest shows the same parts for longer and in more ways.

use crate::boot::{Boot, Scenario};

/// A scenario of the core, and shorter arguments for it, if it is shortened.
type Shown = (&'static str, Option<&'static [&'static str]>);

/// First light: a real driver's buffers, a driver that poisons its frames, a lender that exits, what is refused.
const FIRST_LIGHT: &[Shown] = &[
    ("vram_and_ram_of_bochs_are_shared_across_migrations", None),
    ("a_memfd_is_shared", None),
    ("no_stale_access_to_frames_of_a_driver", Some(&["200"])),
    ("exit_revokes", None),
    ("frames_that_may_not_be_lent_are_refused", None),
];

/// The borrower's driver.
const DRIVER: &[Shown] = &[
    ("memory_is_shared_through_the_driver", None),
    ("a_mapping_ends_with_its_lease", None),
    ("only_the_task_that_waits_stands_still", None),
];

/// Revocation by force, and a control: a broker that does not remove is noticed.
const FORCE: &[Shown] =
    &[("a_paused_broker_leaves_no_stale_access", None), ("a_broker_that_does_not_remove_is_noticed", None)];

/// A guest that never stops asking, beside another one.
const HOSTILE: &[Shown] = &[("a_storm_of_accesses_costs_the_other_guest_nothing", None)];

/// The boots, and what runs in each: those that take longest first, so that no processor is idle at the end.
const CORE: &[(&str, &[Shown])] = &[
    ("fallback", FORCE),
    ("fallback@lend", FORCE),
    ("lend-shared", &[("one_broker_serves_three_guests", None)]),
    ("borrowers", HOSTILE),
    ("borrowers@lend", HOSTILE),
    ("lending", FIRST_LIGHT),
    ("lending@lend", FIRST_LIGHT),
    ("frontend", DRIVER),
    ("frontend@lend", DRIVER),
    ("lend-pvh-dom0", FIRST_LIGHT),
];

/// Scenarios that `--long` runs for longer, and with which arguments.
const LONG: &[(&str, &str, &[&str])] =
    &[("lend-only", "locked_counters_are_exact_through_500_revocations", &["5000"])];

/// The core's scenarios of these boots, with its arguments and in its order.
pub fn of(boots: &[Boot]) -> Vec<(&Boot, Vec<Scenario>)> {
    let boot_of = |name: &str| boots.iter().find(|boot: &&Boot| boot.name == name);
    let chosen = CORE.iter().filter_map(|(name, shown)| Some((boot_of(name)?, *shown)));
    chosen.map(|(boot, shown)| (boot, shown.iter().filter_map(|one| scenario(boot, one)).collect())).collect()
}

/// One of them; none where its boot does not show it.
fn scenario(boot: &Boot, (name, shorter): &Shown) -> Option<Scenario> {
    let scenario = boot.scenarios.iter().find(|scenario| scenario.name == *name && boot.shows(scenario))?;
    Some(Scenario { arguments: shorter.unwrap_or(scenario.arguments), ..*scenario })
}

/// The same scenario for longer, if there is a longer form.
pub fn longer(boot: &Boot, scenario: &Scenario) -> Scenario {
    let long = LONG.iter().find(|(name, shown, _)| *name == boot.name && *shown == scenario.name);
    Scenario { arguments: long.map_or(scenario.arguments, |(_, _, arguments)| arguments), ..*scenario }
}

#[cfg(test)]
mod tests {
    use super::{longer, of, Boot, CORE, LONG};
    use crate::boot::Driver;
    use crate::test_choice::{Forms, Kinds};

    fn all() -> Vec<Boot> {
        Kinds::Both.of(&Forms::All.boots())
    }

    #[test]
    fn all_of_the_core_is_in_the_list_of_scenarios() {
        let all = all();
        let found = of(&all);
        for (name, shown) in CORE {
            let (boot, scenarios) = found.iter().find(|(boot, _)| boot.name == *name).expect(name);
            assert!(
                boot.panic.is_none() && boot.open.is_none(),
                "{name} shows no part of xenlend, or is open"
            );
            assert_eq!(scenarios.len(), shown.len(), "{name} does not show everything that the core names");
            for scenario in scenarios {
                let listed = boot.scenarios.iter().find(|listed| listed.name == scenario.name).unwrap();
                assert_eq!(scenario.arguments.len(), listed.arguments.len(), "{}", scenario.name);
            }
        }
    }

    #[test]
    fn the_core_touches_every_part_on_both_kinds_of_xen() {
        let all = all();
        let core = of(&all);
        for lend_aware in [false, true] {
            let on_this: Vec<_> =
                core.iter().filter(|(boot, _)| boot.xen.is_lend_aware() == lend_aware).collect();
            let some = |what: &str, shows: &dyn Fn(&Boot, &str) -> bool| {
                let any = on_this.iter().any(|(boot, list)| list.iter().any(|one| shows(boot, one.script)));
                assert!(any, "{what}, lend-aware: {lend_aware}");
            };
            some("first light without the driver", &|boot, script| {
                boot.driver == Driver::None && script == "share-display.sh"
            });
            some("the driver", &|boot, _| boot.driver == Driver::With);
            some("revocation by force", &|_, script| script == "fallback.sh");
            some("a control", &|_, script| script == "stale-own-control.sh");
            some("a hostile guest", &|boot, script| boot.guests > 1 && script == "access-storm.sh");
        }
        let lend: Vec<&str> = core.iter().map(|(boot, _)| boot.name).collect();
        assert!(lend.contains(&"lend-shared") && lend.contains(&"lend-pvh-dom0"));
    }

    #[test]
    fn what_is_longer_has_other_arguments() {
        let all = all();
        for (name, scenario, arguments) in LONG {
            let boot = all.iter().find(|boot| boot.name == *name).expect(name);
            let listed = boot.scenarios.iter().find(|listed| listed.name == *scenario).expect(scenario);
            assert_eq!(longer(boot, listed).arguments, *arguments);
            assert_ne!(listed.arguments, *arguments);
        }
    }
}
