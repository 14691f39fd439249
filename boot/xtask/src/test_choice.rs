// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which boots `cargo xtask test` runs: on which Xen, and with the borrower's driver or without it.

use std::collections::VecDeque;

use clap::ValueEnum;

use crate::boot::{Boot, Driver, Scenario};
use crate::hypervisor::Flavour;
use crate::scenarios::BOOTS;
use crate::test_core;
use crate::test_skips::Entry;

/// How much runs, and for how long.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Extent {
    /// Run everything: all scenarios, for longer where there is a longer form
    #[arg(long)]
    pub full: bool,
    /// Run those scenarios for longer that have a longer form
    #[arg(long)]
    pub long: bool,
    /// Build Xen with assertions, and boot that; nothing of it is recorded
    #[arg(long, conflicts_with = "record")]
    pub debug: bool,
}

/// Which scenarios run, of the boots that are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// The core.
    Core,
    /// All.
    All,
    /// Those whose name, or whose boot's name, contains this.
    Named(&'a str),
}

/// What runs: the boots with their scenarios, in this order. `long` has some take longer.
pub fn entries<'a>(boots: &'a [Boot], which: Which<'_>, long: bool) -> VecDeque<Entry<'a>> {
    let named = |boot: &Boot, scenario: &Scenario| match which {
        Which::Named(text) => scenario.name.contains(text) || boot.name.contains(text),
        Which::Core | Which::All => true,
    };
    if which == Which::Core {
        return test_core::of(boots).into();
    }
    let scenarios = |boot: &Boot| -> Vec<Scenario> {
        let chosen = boot.scenarios.iter().filter(|one| boot.shows(one) && named(boot, one));
        chosen.map(|one| if long { test_core::longer(boot, one) } else { *one }).collect()
    };
    let mut entries: Vec<Entry> =
        boots.iter().map(|boot| (boot, scenarios(boot))).filter(|(_, list)| !list.is_empty()).collect();
    entries.sort_by_key(|(boot, _)| boot.open.is_some());
    entries.into()
}

/// The same boots with assertions in Xen.
pub fn with_assertions(boots: Vec<Boot>) -> Vec<Boot> {
    boots.into_iter().map(|boot| Boot { xen: boot.xen.with_assertions(), ..boot }).collect()
}

/// The kinds of Xen to run on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Kinds {
    /// Debian's own, and those with patches that only mend or count
    Stock,
    /// Lend-aware
    Lend,
    /// One after the other
    #[default]
    Both,
}

/// The forms of boots to run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Forms {
    /// As they are listed: without it, but for the boots that are about it
    None,
    /// With it
    With,
    /// With it, but its zaps and prefaults switched off
    Unzapped,
    /// All three, one after the other
    #[default]
    All,
}

impl Forms {
    /// The boots: each form has a name of its own.
    pub fn boots(self) -> Vec<Boot> {
        let with = |driver: Option<Driver>| {
            BOOTS.iter().flat_map(move |boot| {
                let wanted =
                    boot.forms.iter().filter(move |form| driver.is_none_or(|one| form.driver == one));
                wanted.map(|form| boot.in_form(form))
            })
        };
        match self {
            Self::None => BOOTS.to_vec(),
            Self::With => with(Some(Driver::With)).collect(),
            Self::Unzapped => with(Some(Driver::Unzapped)).collect(),
            Self::All => BOOTS.iter().copied().chain(with(None)).collect(),
        }
    }
}

impl Kinds {
    /// Those of the boots that are for this Xen: what runs on both has a name of its own on the patched one.
    pub fn of(self, boots: &[Boot]) -> Vec<Boot> {
        let is_lend_aware = |boot: &&Boot| boot.xen.is_lend_aware();
        let stock = boots.iter().filter(|boot| !is_lend_aware(boot)).copied();
        let again =
            boots.iter().filter_map(|boot| Some(Boot { name: boot.on_lend?, xen: Flavour::Lend, ..*boot }));
        let lend = boots.iter().filter(is_lend_aware).copied().chain(again);
        match self {
            Self::Stock => stock.collect(),
            Self::Lend => lend.collect(),
            Self::Both => stock.chain(lend).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{entries, with_assertions, Boot, Driver, Flavour, Forms, Kinds, Which};
    use crate::boot::{InForm, On};
    use crate::scenarios::BOOTS;

    fn names(boots: &[Boot]) -> Vec<&'static str> {
        boots.iter().map(|boot| boot.name).collect()
    }

    #[test]
    fn each_kind_has_boots_of_its_own_names() {
        let listed = Forms::None.boots();
        let (stock, lend) = (Kinds::Stock.of(&listed), Kinds::Lend.of(&listed));
        assert!(names(&stock).contains(&"lending") && names(&lend).contains(&"lending@lend"));
        assert!(names(&lend).contains(&"lend-shared") && names(&stock).contains(&"stos-mended"));
        assert!(lend.iter().all(|boot| boot.xen.is_lend_aware()));
        assert!(!stock.iter().any(|boot| boot.xen.is_lend_aware()));
        assert!(BOOTS.iter().all(|boot| boot.on_lend.is_none() || !boot.xen.is_lend_aware()));
        assert_eq!(names(&Kinds::Both.of(&listed)), [names(&stock), names(&lend)].concat());
    }

    #[test]
    fn everything_is_run_by_full_and_reached_by_name_whatever_the_core_is() {
        let boots = Kinds::Both.of(&Forms::All.boots());
        let count = |which| entries(&boots, which, false).iter().map(|(_, list)| list.len()).sum::<usize>();
        let shown = |boot: &Boot| boot.scenarios.iter().filter(|one| boot.shows(one)).count();
        let all: usize = boots.iter().map(shown).sum();
        assert_eq!(count(Which::All), all);
        assert_eq!(count(Which::Named("")), all);
        assert!(count(Which::Core) > 0 && count(Which::Core) < all);
        for boot in &boots {
            assert!(count(Which::Named(boot.name)) >= shown(boot), "{}", boot.name);
        }
        let run = entries(&boots, Which::All, false);
        let open: Vec<bool> = run.iter().map(|(boot, _)| boot.open.is_some()).collect();
        assert!(open.is_sorted() && open.contains(&true), "those that are open come last");
    }

    #[test]
    fn a_longer_form_takes_the_place_of_the_listed_one() {
        let boots = Kinds::Both.of(&Forms::All.boots());
        let arguments = |long| -> Vec<_> {
            let run = entries(&boots, Which::All, long);
            run.iter().flat_map(|(_, list)| list.iter().map(|one| (one.name, one.arguments))).collect()
        };
        let (listed, longer) = (arguments(false), arguments(true));
        assert_eq!(listed.len(), longer.len());
        assert_ne!(listed, longer);
    }

    #[test]
    fn with_assertions_every_hypervisor_that_has_them_is_another() {
        let boots = with_assertions(Kinds::Both.of(&Forms::All.boots()));
        let plain = [Flavour::Stock, Flavour::Lend, Flavour::Mended];
        assert!(boots.iter().all(|boot| !plain.contains(&boot.xen)));
    }

    #[test]
    fn each_form_has_boots_of_its_own_names() {
        let (with, unzapped) = (Forms::With.boots(), Forms::Unzapped.boots());
        assert!(names(&with).contains(&"lending+driver") && names(&unzapped).contains(&"lending+unzapped"));
        assert!(with.iter().all(|boot| boot.driver == Driver::With && boot.name.ends_with("+driver")));
        assert!(unzapped
            .iter()
            .all(|boot| boot.driver == Driver::Unzapped && boot.name.ends_with("+unzapped")));
        let all = names(&Forms::All.boots());
        assert_eq!(all.len(), BOOTS.len() + with.len() + unzapped.len());
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "every name is somebody's own");
    }

    #[test]
    fn every_form_of_first_light_shows_what_is_not_about_another() {
        for boot in Kinds::Both.of(&Forms::All.boots()) {
            for scenario in boot.scenarios {
                let on = match scenario.on {
                    On::Any => true,
                    On::Stock(way) => !way.is_empty() && !boot.name.ends_with("@lend"),
                };
                let form = match scenario.form {
                    InForm::Any => true,
                    InForm::NoDriver(why) => !why.is_empty() && !boot.name.contains('+'),
                    InForm::NoZaps(why) => !why.is_empty() && !boot.name.ends_with("+driver"),
                    InForm::Zapping(why) => !why.is_empty() && boot.name.ends_with("+driver"),
                    InForm::Unzapped(why) => !why.is_empty() && boot.name.ends_with("+unzapped"),
                };
                assert_eq!(boot.shows(scenario), on && form, "{} {}", boot.name, scenario.name);
            }
        }
    }

    #[test]
    fn guests_with_the_driver_and_two_vcpus_lose_no_interrupts() {
        let lines = |boot: &Boot| boot.guest_config().iter().filter(|line| line.contains("cpuid")).count();
        for boot in Forms::All.boots() {
            let expected = boot.driver != Driver::None && boot.vcpus > 1;
            assert_eq!(lines(&boot), usize::from(expected), "{}", boot.name);
            assert_eq!(lines(&Boot { xen: Flavour::Lend, ..boot }), 0, "{}", boot.name);
        }
    }
}
