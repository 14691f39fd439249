// SPDX-License-Identifier: MIT OR Apache-2.0
//! The core of the borrower's driver: what a broker says, well formed or not, and what programs touch meanwhile.
//! No page-table entry outlives the zap that its lease's end asks for.

use std::collections::{BTreeMap, BTreeSet};

use xenlend_front_core::frontend::Turn;
use xenlend_front_core::link::{Answer, Phase, Touch};
use xenlend_front_core::page_set::Pages;
use xenlend_protocol::codec::decode;
use xenlend_protocol::frontend::{FromBorrower, ToBorrower, MAX_WAIT_PAGES};
use xenlend_protocol::lease_id::LeaseId;
use xenlend_protocol::message::LossPolicy;
use xenlend_protocol::ring::Priority;

use crate::driver_support::{lease, lost, present, revoked, unavailable, Bench, APERTURE_PAGES};
use crate::Stream;

const STEPS: usize = 200;

/// What the module keeps: page to serial of the lease that its entry is for.
#[derive(Default)]
struct Entries(BTreeMap<u32, u64>);

impl Entries {
    fn touch(&mut self, bench: &mut Bench, serial: u64, page: u32, write: bool) {
        let touch = Touch { serial, page, mapping: Pages { first: 0, end: APERTURE_PAGES } };
        if let Answer::Insert(pages) = bench.driver.touch(&touch, write) {
            assert!(pages.contains(page));
            let living = bench.driver.link().and_then(|link| link.by_serial(serial));
            assert!(
                living.is_some_and(|lease| lease.pages.covers(pages)),
                "inserted beyond a lease that lives"
            );
            self.0.extend((pages.first..pages.end).map(|page| (page, serial)));
        }
    }

    fn check(&self, bench: &Bench) {
        let Some(link) = bench.driver.link() else { return };
        for (page, serial) in &self.0 {
            let lease = link.by_serial(*serial);
            assert!(
                lease.is_some_and(|lease| lease.pages.contains(*page)),
                "page {page} is mapped and its lease {serial} is over"
            );
        }
    }
}

fn message(stream: &mut Stream<'_>, sequence: &mut u64) -> Option<ToBorrower> {
    let [kind, index, first, count] = stream.take();
    let id = LeaseId { index: u16::from(index % 5) * 16, generation: u32::from(index >> 6) };
    let (first, count) = (u32::from(first), u32::from(count) % 100);
    Some(match kind % 8 {
        0 | 1 => {
            let loss = if index & 32 == 0 { LossPolicy::Zeros } else { LossPolicy::Fault };
            lease(id, first % 30 * 64, count, loss)
        }
        2 => present(id, first, count),
        3 => lost(id, first, count),
        4 => unavailable(id, first, count),
        5 | 6 => {
            *sequence += 1;
            revoked(*sequence, id, first, count, kind % 8 == 6)
        }
        _ => {
            let bytes = stream.take::<20>();
            (1..=bytes.len()).find_map(|length| decode(&bytes[..length]).ok())?
        }
    })
}

/// Drives a driver by these bytes.
///
/// # Panics
/// If something does not hold that must.
pub fn driver(bytes: &[u8]) {
    let mut stream = Stream(bytes);
    let mut bench = Bench::connected();
    let mut entries = Entries::default();
    let mut serials = BTreeSet::new();
    let mut sequence = 0;
    for _ in 0..STEPS {
        if stream.is_empty() || !matches!(bench.phase(), Phase::Connected) {
            break;
        }
        let [step, which, page] = stream.take();
        if step & 3 == 0 {
            let serial = serials.iter().nth(usize::from(which) % serials.len().max(1)).copied().unwrap_or(0);
            let page = u32::from(page) * 7;
            entries.touch(&mut bench, serial, page, which & 1 != 0);
        } else if let Some(message) = message(&mut stream, &mut sequence) {
            if bench.to_driver.send(&message, Priority::Reserved).is_err() {
                break;
            }
        }
        match bench.driver.turn() {
            Turn::Zap(pages, zapped) => {
                // Touches between the message and the zap.
                let mut racing = Entries::default();
                for serial in &serials {
                    racing.touch(&mut bench, *serial, u32::from(page) * 7, false);
                }
                racing.check(&bench);
                entries.0.extend(racing.0);
                entries.0.retain(|page, _| !pages.contains(*page));
                bench.driver.zapped(zapped);
            }
            Turn::Ended(_) => entries.0.clear(),
            Turn::Idle | Turn::More => {}
        }
        if let Some(link) = bench.driver.link() {
            serials.extend(link.leases().map(|lease| lease.serial));
        }
        entries.check(&bench);
        hear(&mut bench, sequence);
    }
}

/// The broker takes what the driver says: nothing that would be a breach.
fn hear(bench: &mut Bench, sequence: u64) {
    while let Ok(Some(said)) = bench.from_driver.receive::<FromBorrower>() {
        match said {
            FromBorrower::WaitFor { page, count, .. } => {
                assert!((1..=MAX_WAIT_PAGES).contains(&count), "{said:?}");
                assert!(u64::from(page.0) + u64::from(count) <= u64::from(APERTURE_PAGES), "{said:?}");
            }
            FromBorrower::ZapDone { sequence: done } => {
                assert!(done <= sequence.max(done), "{said:?}");
            }
            FromBorrower::Hello { .. } => panic!("it says hello twice"),
        }
    }
}
