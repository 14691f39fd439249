// SPDX-License-Identifier: MIT OR Apache-2.0
//! The worker threads of a link: which of them leads, and which is in the process of which region.
//!
//! One leads: it alone chooses what is done next. Before it goes into the process of a region,
//! where a fault or a lock may hold it up for as long as that process likes, it gives the lead up,
//! and whoever waits for the lead takes it when there is something to do that needs no region with
//! a worker in it. There is never more than one worker in a region. So what holds a worker up holds
//! up its own region and no other; and while only one region has work, no thread but that worker is
//! woken.

use core::ops::DerefMut;

use xenlend_protocol::lease_id::LeaseId;

use crate::regions::MAX_REGIONS;

/// Workers of a link: one in each region, and one that leads.
pub const MAX_WORKERS: usize = MAX_REGIONS + 1;
/// Workers that wait for the lead and are kept.
const SPARE: usize = 2;

/// An answer that a worker in a region owes, as long as nobody else gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owes {
    /// None.
    Nothing,
    /// To the access of that number.
    Access(u32),
    /// To the want of that ticket.
    Want(u32),
}

/// A worker in the process of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The region's lease.
    pub lease: LeaseId,
    /// Since then, in milliseconds.
    pub since: u64,
    /// Its answer.
    pub owes: Owes,
    /// Wants of the region have been answered with "waits" because of it.
    pub held_up: bool,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// There is none.
    #[default]
    Free,
    /// It is being started, or waits for the lead.
    Waiting,
    /// It leads.
    Leading,
    /// It is in a region.
    Inside(Visit),
    /// It is about to end. Its number is not used again before it has.
    Ending,
}

/// Whether a worker leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// It does.
    Yes,
    /// Another does.
    No,
    /// Another does, and enough wait: it ends, and is dismissed then.
    Retire,
}

/// All of them, by number.
pub struct Crew<T> {
    places: T,
}

impl<T: DerefMut<Target = [Place]>> Crew<T> {
    /// Over places that are free.
    pub fn new(places: T) -> Self {
        Self { places }
    }

    /// A worker that is in no region would lead.
    pub fn take_lead(&mut self, number: u32) -> Lead {
        let others = || self.places.iter().enumerate().filter(|(at, _)| *at != number as usize);
        let is_led = others().any(|(_, place)| *place == Place::Leading);
        let waiting = others().filter(|(_, place)| **place == Place::Waiting).count();
        let (place, lead) = match (is_led, waiting >= SPARE) {
            (false, _) => (Place::Leading, Lead::Yes),
            (true, false) => (Place::Waiting, Lead::No),
            (true, true) => (Place::Ending, Lead::Retire),
        };
        self.set(number, place);
        lead
    }

    /// Whether nobody leads.
    pub fn is_leaderless(&self) -> bool {
        !self.places.contains(&Place::Leading)
    }

    /// A place for a worker that has to be started: nobody leads or waits to.
    pub fn hire(&mut self) -> Option<u32> {
        if self.places.iter().any(|place| matches!(place, Place::Waiting | Place::Leading)) {
            return None;
        }
        self.recruit()
    }

    /// Whether there is no such worker.
    pub fn is_free(&self, number: u32) -> bool {
        self.places.get(number as usize).is_none_or(|place| *place == Place::Free)
    }

    /// A place for one more worker.
    pub fn recruit(&mut self) -> Option<u32> {
        let free = self.places.iter().position(|place| *place == Place::Free)?;
        self.set(free as u32, Place::Waiting);
        Some(free as u32)
    }

    /// A worker has ended.
    pub fn dismiss(&mut self, number: u32) {
        self.set(number, Place::Free);
    }

    /// A worker goes into a region, and leads no more.
    pub fn enter(&mut self, number: u32, lease: LeaseId, owes: Owes, since: u64) {
        self.set(number, Place::Inside(Visit { lease, since, owes, held_up: false }));
    }

    /// It has come back.
    pub fn leave(&mut self, number: u32) -> Option<Visit> {
        let place = self.places.get_mut(number as usize)?;
        let Place::Inside(visit) = *place else { return None };
        *place = Place::Waiting;
        Some(visit)
    }

    /// The worker in a region.
    pub fn inside(&self, lease: LeaseId) -> Option<(u32, &Visit)> {
        self.places.iter().enumerate().find_map(|(at, place)| match place {
            Place::Inside(visit) if visit.lease == lease => Some((at as u32, visit)),
            _ => None,
        })
    }

    /// The region that a worker is in.
    pub fn region_of(&self, number: u32) -> Option<LeaseId> {
        match self.places.get(number as usize)? {
            Place::Inside(visit) => Some(visit.lease),
            _ => None,
        }
    }

    /// The visit of a worker.
    pub fn visit_mut(&mut self, number: u32) -> Option<&mut Visit> {
        match self.places.get_mut(number as usize)? {
            Place::Inside(visit) => Some(visit),
            _ => None,
        }
    }

    /// All visits, to change them.
    pub fn visits_mut(&mut self) -> impl Iterator<Item = &mut Visit> {
        self.places.iter_mut().filter_map(|place| match place {
            Place::Inside(visit) => Some(visit),
            _ => None,
        })
    }

    fn set(&mut self, number: u32, place: Place) {
        if let Some(at) = self.places.get_mut(number as usize) {
            *at = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(index: u16) -> LeaseId {
        LeaseId { index, generation: 1 }
    }

    #[test]
    fn one_leads_and_some_wait() {
        let mut crew = Crew::new(vec![Place::Free; 6]);
        for number in 0..5 {
            assert_eq!(crew.recruit(), Some(number));
        }
        assert!(crew.is_leaderless());
        assert_eq!(crew.take_lead(1), Lead::Yes);
        assert_eq!(crew.take_lead(1), Lead::Yes);
        // 0, 2, 3 and 4 wait: two of them are too many.
        assert_eq!(crew.take_lead(0), Lead::Retire);
        assert_eq!(crew.take_lead(3), Lead::Retire);
        assert_eq!(crew.take_lead(2), Lead::No);
        assert_eq!(crew.take_lead(4), Lead::No);
        assert_eq!(crew.recruit(), Some(5), "whoever retires has its number until it has ended");
        assert_eq!(crew.recruit(), None);
        crew.dismiss(0);
        assert_eq!(crew.recruit(), Some(0));
    }

    #[test]
    fn whoever_goes_inside_leaves_somebody_to_lead() {
        let mut crew = Crew::new(vec![Place::Free; 3]);
        crew.recruit();
        assert_eq!(crew.take_lead(0), Lead::Yes);
        crew.enter(0, lease(4), Owes::Access(9), 100);
        assert!(crew.is_leaderless());
        assert_eq!(crew.hire(), Some(1));
        assert_eq!(crew.hire(), None, "one is on its way");
        assert_eq!(crew.take_lead(1), Lead::Yes);
        crew.enter(1, lease(5), Owes::Nothing, 101);
        assert_eq!(crew.hire(), Some(2));
        assert_eq!(crew.take_lead(2), Lead::Yes);
        assert_eq!(crew.inside(lease(4)).map(|(number, visit)| (number, visit.since)), Some((0, 100)));
        assert_eq!(crew.inside(LeaseId { index: 4, generation: 2 }), None, "of another time");
        assert_eq!(crew.leave(0).map(|visit| visit.owes), Some(Owes::Access(9)));
        assert_eq!(crew.leave(0), None);
        assert_eq!(crew.take_lead(0), Lead::No);
    }
}
