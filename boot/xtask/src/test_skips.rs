// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes the boots out of a test run whose hypervisor cannot be built because the mirror
//! lacks something that it is built from.

use std::collections::{BTreeMap, VecDeque};

use anyhow::Result;

use crate::boot::{Boot, Scenario};
use crate::hypervisor::Flavour;
use crate::tally::Tally;
use crate::unavailable::Unavailable;

/// A boot and what is to run in it.
pub type Entry<'a> = (&'a Boot, Vec<Scenario>);

/// Makes every hypervisor of the chosen boots with `ensure`, once each, and gives the boots that can run. The
/// scenarios of the others are counted as skipped, each by its name.
///
/// # Errors
/// A hypervisor that cannot be built though everything is there: no scenario's fault.
pub fn that_can_run<'a>(
    chosen: VecDeque<Entry<'a>>,
    mut ensure: impl FnMut(Flavour) -> Result<()>,
    tally: &mut Tally,
) -> Result<VecDeque<Entry<'a>>> {
    let mut missing: BTreeMap<Flavour, Option<Unavailable>> = BTreeMap::new();
    for (boot, _) in &chosen {
        if missing.contains_key(&boot.xen) {
            continue;
        }
        let none = match ensure(boot.xen) {
            Ok(()) => None,
            Err(error) => Some(error.downcast::<Unavailable>()?),
        };
        missing.insert(boot.xen, none);
    }
    if let Some(none) = missing.values().flatten().next() {
        eprintln!("{none}");
    }
    let mut run = VecDeque::new();
    for (boot, scenarios) in chosen {
        match missing.get(&boot.xen) {
            Some(Some(none)) => {
                for scenario in scenarios {
                    tally.skip(&boot.title(scenario.name), &none.reason);
                }
            }
            _ => run.push_back((boot, scenarios)),
        }
    }
    Ok(run)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{that_can_run, Entry, Flavour, Tally, Unavailable};
    use crate::scenarios::BOOTS;

    fn all() -> VecDeque<Entry<'static>> {
        BOOTS.iter().map(|boot| (boot, boot.scenarios.to_vec())).collect()
    }

    #[test]
    fn without_a_source_what_boots_another_xen_is_skipped_by_name() {
        let mut tally = Tally::default();
        let mut asked = Vec::new();
        let ensure = |flavour| {
            asked.push(flavour);
            if flavour == Flavour::Stock {
                Ok(())
            } else {
                Err(Unavailable::default().into())
            }
        };
        let run = that_can_run(all(), ensure, &mut tally).unwrap();
        assert!(!run.is_empty() && run.iter().all(|(boot, _)| boot.xen == Flavour::Stock));
        let others = BOOTS.iter().filter(|boot| boot.xen != Flavour::Stock);
        let skipped: usize = others.map(|boot| boot.scenarios.len()).sum();
        assert_eq!(tally.to_string(), format!("0 passed, 0 failed, {skipped} skipped"));
        let count = asked.len();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), count, "each is asked for once");
    }

    #[test]
    fn a_build_that_fails_skips_nothing() {
        let mut tally = Tally::default();
        let failed = that_can_run(all(), |_| anyhow::bail!("the compiler's"), &mut tally);
        assert_eq!(failed.unwrap_err().to_string(), "the compiler's");
        assert_eq!(tally.to_string(), "0 passed, 0 failed, 0 skipped");
    }
}
