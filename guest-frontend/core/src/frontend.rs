// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver as a whole: the link if there is one, and what outlives a link: events, requests,
//! counters and the numbers of mappings.

use xenlend_protocol::message::Rights;
use xenlend_protocol::ring::RingMemory;

use crate::counters::{add, Counters};
use crate::events::{self, Cursor, Event, EventLog};
use crate::lease::Lease;
use crate::link::{Answer, Asker, Link, Notice, Touch, BY_BACKEND};
use crate::page_set::Pages;
use crate::prefault::{self, Prefault};
use crate::storage::Storage;
use crate::uapi::map::{MapName, MapRequest, MapType};
use crate::uapi::page_bytes;

/// What the module has to do after a call, with the mutex let go of for the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Notify the broker.
    pub notify: bool,
    /// Wake whoever waits for a page, an event or room.
    pub wake: bool,
    /// Run the turns again: something is left for them to do.
    pub work: bool,
}

/// What one turn of the work item is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Everything that was said is done.
    Idle,
    /// Done; there may be more.
    More,
    /// Take these pages out of all programs' page tables, without the mutex, and then call
    /// [`Frontend::zapped`].
    Zap(Pages, Option<u64>),
    /// The link is over, said once: take everything out of the page tables, and tell the bus.
    Ended(u64),
}

/// Why there is no mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapRefusal {
    /// No link, or nothing that lives covers the range.
    NoLease,
    /// A read-only lease, or a mapping to execute from.
    Access,
    /// The lease cannot be mapped as is demanded.
    Type,
}

/// A mapping that may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// What it is of.
    pub name: MapName,
    /// Whether it may become writable later.
    pub may_write: bool,
}

/// Why a request to bring pages in is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefaultRefusal {
    /// No link, or nothing that lives covers the range.
    NoLease,
    /// Too many requests are kept: read completions first.
    Full,
}

/// What to acknowledge when an event has been copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// The reader's place in the log.
    Place(Cursor),
    /// A completed request, by its place in the table and its number.
    Prefault {
        /// The place.
        place: usize,
        /// The number.
        number: u64,
    },
}

/// The driver.
pub struct Frontend<R, S: Storage> {
    link: Option<Link<R, S>>,
    events: EventLog<S::Slice<Event>>,
    prefaults: S::Slice<Option<Prefault>>,
    counters: Counters,
    serial: u64,
    effects: Effects,
}

impl<R: RingMemory, S: Storage> Frontend<R, S> {
    /// Without a link; over memory for at least one event and one request.
    pub fn new(events: S::Slice<Event>, prefaults: S::Slice<Option<Prefault>>) -> Self {
        Self {
            link: None,
            events: EventLog::new(events),
            prefaults,
            counters: Counters::default(),
            serial: 0,
            effects: Effects::default(),
        }
    }

    /// The link.
    pub fn link(&self) -> Option<&Link<R, S>> {
        self.link.as_ref()
    }

    /// What has happened.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// What is to be done; asked after every call.
    pub fn take_effects(&mut self) -> Effects {
        core::mem::take(&mut self.effects)
    }

    /// Takes a link into use and greets the broker; gives it back if there is one already.
    pub fn connect(&mut self, link: Link<R, S>) -> Option<Link<R, S>> {
        if self.link.is_some() {
            return Some(link);
        }
        add(&mut self.counters.links, 1);
        self.link = Some(link);
        self.settle();
        None
    }

    /// Ends the link if it has not ended, and gives it back. No page of it can be inserted any more; what is
    /// in the page tables is the caller's to zap.
    pub fn disconnect(&mut self) -> Option<Link<R, S>> {
        let mut link = self.link.take()?;
        link.close(BY_BACKEND);
        if let Some(reason) = link.take_end() {
            self.tell_end(reason);
        }
        Some(link)
    }

    /// Handles the next message.
    pub fn turn(&mut self) -> Turn {
        let Some(link) = &mut self.link else { return Turn::Idle };
        let serial = self.serial.saturating_add(1);
        let notice = link.receive(serial);
        let turn = match notice {
            None => Turn::Idle,
            Some(notice) => {
                add(&mut self.counters.messages_received, 1);
                self.note(notice)
            }
        };
        self.settle();
        match self.link.as_mut().and_then(Link::take_end) {
            Some(reason) => {
                self.tell_end(reason);
                Turn::Ended(reason)
            }
            None => turn,
        }
    }

    fn note(&mut self, notice: Notice) -> Turn {
        match notice {
            Notice::Nothing | Notice::Closed => {}
            Notice::Connected => self.push(events::CONNECTED, None, 1),
            Notice::Granted(lease) => {
                self.serial = lease.serial;
                self.push(events::LEASE, Some(lease.pages), lease.serial);
            }
            Notice::Passed(sequence) => {
                if let Some(link) = &mut self.link {
                    link.zapped(sequence);
                }
            }
            Notice::Answered => self.effects.wake = true,
            Notice::Unavailable { lease, pages } => {
                add(&mut self.counters.unavailable, u64::from(pages.count()));
                for prefault in self.prefaults.iter_mut().flatten() {
                    prefault.note_unavailable(lease.serial, pages);
                }
                self.effects.wake = true;
            }
            Notice::Lost { lease, pages, zap } => {
                self.push(events::LOST, Some(pages), lease.serial);
                if zap {
                    add(&mut self.counters.zaps, 1);
                    return Turn::Zap(pages, None);
                }
            }
            Notice::Revoked { lease, pages, ended, sequence } => {
                let kind = if ended { events::ENDED } else { events::REVOKED };
                self.push(kind, Some(pages), lease.serial);
                add(&mut self.counters.zaps, 1);
                return Turn::Zap(pages, Some(sequence));
            }
        }
        Turn::More
    }

    /// The pages of a [`Turn::Zap`] are in no page table any more.
    pub fn zapped(&mut self, sequence: Option<u64>) {
        if let (Some(link), Some(sequence)) = (&mut self.link, sequence) {
            link.zapped(sequence);
            self.settle();
        }
    }

    /// What a touch finds. A page that is to be inserted must be inserted before the mutex is let go of.
    pub fn touch(&mut self, touch: &Touch, huge: bool) -> Answer {
        let Some(link) = &mut self.link else { return Answer::Bus };
        let answer = if huge { link.touch_huge(touch) } else { link.touch(touch, &mut self.counters) };
        self.collect();
        answer
    }

    /// Whether whoever waits for a page has to go on waiting.
    pub fn is_awaited(&self, serial: u64, page: u32) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_awaited(serial, page))
    }

    /// Whether a mapping may be made.
    ///
    /// # Errors
    /// Why not.
    pub fn map(&self, request: MapRequest, writes: bool, executes: bool) -> Result<Mapped, MapRefusal> {
        let lease = self.covering(request.pages).ok_or(MapRefusal::NoLease)?;
        let may_write = lease.rights == Rights::ReadWrite;
        if executes || (writes && !may_write) {
            return Err(MapRefusal::Access);
        }
        let kind = MapType::of(lease.cache, request.demand).ok_or(MapRefusal::Type)?;
        Ok(Mapped { name: MapName { serial: lease.serial, kind }, may_write })
    }

    /// Begins to bring pages in.
    ///
    /// # Errors
    /// Why not.
    pub fn prefault(&mut self, owner: u64, cookie: u64, pages: Pages) -> Result<(), PrefaultRefusal> {
        self.begin(owner, cookie, pages, None)
    }

    /// As [`Self::prefault`], but completes at once and leaves the pages to whoever touches them.
    ///
    /// # Errors
    /// Why not.
    pub fn decline(&mut self, owner: u64, cookie: u64, pages: Pages) -> Result<(), PrefaultRefusal> {
        self.effects.wake = true;
        self.begin(owner, cookie, pages, Some(prefault::UNAVAILABLE))
    }

    fn begin(
        &mut self,
        owner: u64,
        cookie: u64,
        pages: Pages,
        status: Option<u32>,
    ) -> Result<(), PrefaultRefusal> {
        let lease = self.covering(pages).ok_or(PrefaultRefusal::NoLease)?;
        let number = self.counters.prefaults;
        let mut prefault = Prefault::new(owner, cookie, number, lease.serial, pages);
        prefault.status = status;
        if !prefault::insert(&mut self.prefaults, prefault) {
            return Err(PrefaultRefusal::Full);
        }
        add(&mut self.counters.prefaults, 1);
        // It goes on only behind what has been said already.
        self.effects.work |= status.is_none();
        self.settle();
        Ok(())
    }

    /// Where a new descriptor starts to read events.
    pub fn cursor(&self) -> Cursor {
        self.events.end()
    }

    /// The next event for a descriptor; nothing is taken until [`Self::acknowledge`].
    pub fn next_event(&self, owner: u64, cursor: Cursor) -> Option<(Event, Receipt)> {
        let completed = self.prefaults.iter().enumerate().find_map(|(place, prefault)| {
            let prefault = prefault.filter(|prefault| prefault.owner == owner)?;
            let (offset, bytes) = page_bytes(prefault.pages);
            let event = Event {
                kind: events::PREFAULTED,
                status: prefault.status?,
                offset,
                bytes,
                value: prefault.cookie,
            };
            Some((event, Receipt::Prefault { place, number: prefault.number }))
        });
        completed.or_else(|| {
            let (event, behind) = self.events.next(cursor)?;
            Some((event, Receipt::Place(behind)))
        })
    }

    /// An event has been copied out: forgets a request that it was about. False if another reader of the
    /// descriptor was given it first; the place in the log is the caller's.
    pub fn acknowledge(&mut self, receipt: Receipt) -> bool {
        let Receipt::Prefault { place, number } = receipt else { return true };
        // The place may be used again meanwhile.
        let place = self.prefaults.get_mut(place);
        place.is_some_and(|place| place.take_if(|prefault| prefault.number == number).is_some())
    }

    /// A descriptor is closed: nobody reads its completions.
    pub fn release(&mut self, owner: u64) {
        for place in self.prefaults.iter_mut() {
            if place.is_some_and(|prefault| prefault.owner == owner) {
                *place = None;
            }
        }
    }

    fn covering(&self, pages: Pages) -> Option<Lease> {
        let link = self.link.as_ref()?;
        link.leases().find(|lease| lease.pages.covers(pages)).copied()
    }

    /// Sends what there is to send and goes on with the requests.
    fn settle(&mut self) {
        let Some(link) = &mut self.link else { return };
        link.flush(&mut self.counters);
        for place in self.prefaults.iter_mut() {
            let Some(prefault) = place.as_mut().filter(|prefault| prefault.status.is_none()) else {
                continue;
            };
            prefault.status = match link.by_serial(prefault.serial) {
                None => Some(prefault::ENDED),
                Some(lease) => {
                    prefault.advance(&mut Asker { link, lease: lease.id, counters: &mut self.counters })
                }
            };
            self.effects.wake |= prefault.status.is_some();
        }
        self.collect();
        // Whoever found no room tries again at the next sign of life.
        self.effects.wake |= self.link.as_mut().is_some_and(Link::take_starved);
    }

    fn collect(&mut self) {
        if let Some(link) = &mut self.link {
            self.effects.notify |= link.take_notify();
            self.effects.work |= link.has_untold_end();
        }
    }

    fn tell_end(&mut self, reason: u64) {
        for prefault in self.prefaults.iter_mut().flatten() {
            prefault.status.get_or_insert(prefault::ENDED);
        }
        self.push(events::CLOSING, None, reason);
    }

    fn push(&mut self, kind: u32, pages: Option<Pages>, value: u64) {
        let (offset, bytes) = pages.map_or((0, 0), page_bytes);
        self.events.push(Event { kind, status: 0, offset, bytes, value });
        self.effects.wake = true;
    }
}
