// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver: the core's state under its mutex, and how its effects are carried out.

use core::sync::atomic::{AtomicU64, Ordering};

use xenlend_front_core::events::{Event, MAX_EVENTS};
use xenlend_front_core::frontend::Frontend;
use xenlend_front_core::prefault::MAX_PREFAULTS;

use crate::bus::Bus;
use crate::kernel_api::bus::{BoundDevice, KeptDevice};
use crate::kernel_api::grant::OwnedRing;
use crate::kernel_api::lock::Mutex;
use crate::kernel_api::memory::KernelSlice;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::{Mode, Seen, WaitQueue, Woken};
use crate::kernel_api::{work, KernelMemory};
use crate::link::Link;
use crate::space::Space;

/// The core over this kernel's memory.
pub type Core = Frontend<OwnedRing, KernelMemory>;

/// What the mutex protects.
pub struct State {
    /// All that is decided.
    pub core: Core,
    /// The port of the link.
    pub link: Option<Shared<Link>>,
    /// Its device, which the work item tells of the link's end.
    pub device: Option<KeptDevice>,
}

/// The driver. Fields are in the order of the locks: outermost first.
pub struct Driver {
    /// The device on xenbus and what it holds.
    pub bus: Mutex<Bus>,
    state: Mutex<State>,
    /// The device that is bound. Nothing is done under this lock.
    pub bound: Mutex<Option<Shared<BoundDevice>>>,
    wait: WaitQueue,
    next_descriptor: AtomicU64,
    /// Address space that is kept for an aperture.
    pub space: Mutex<Option<Space>>,
    /// Without zaps: the newest sequence that would have been zapped.
    kept: AtomicU64,
}

impl Driver {
    /// `None` if memory is short.
    pub fn new() -> Option<Self> {
        let events = KernelSlice::new(MAX_EVENTS, Event::default)?;
        let prefaults = KernelSlice::new(MAX_PREFAULTS, || None)?;
        let state = State { core: Core::new(events, prefaults), link: None, device: None };
        Some(Self {
            bus: Mutex::new(Bus::default())?,
            state: Mutex::new(state)?,
            bound: Mutex::new(None)?,
            wait: WaitQueue::new()?,
            next_descriptor: AtomicU64::new(0),
            space: Mutex::new(None)?,
            kept: AtomicU64::new(0),
        })
    }

    /// Runs `act` under the mutex: no memory of a process is touched in it. Afterwards wakes, notifies and
    /// queues as the core wants.
    pub fn locked<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = act(&mut state);
        let effects = state.core.take_effects();
        if effects.wake {
            self.wait.wake();
        }
        let notified = state.link.clone().filter(|_| effects.notify);
        drop(state);
        if let Some(link) = notified {
            link.port.notify();
        }
        if effects.work {
            work::queue();
        }
        result
    }

    /// The count of wake-ups; to be read under the mutex.
    pub fn seen(&self) -> Seen {
        self.wait.seen()
    }

    /// Waits for another wake-up.
    pub fn wait(&self, seen: Seen, mode: Mode) -> Woken {
        self.wait.wait(seen, 0, mode)
    }

    /// The queue, for `poll()`.
    pub fn wait_queue(&self) -> &WaitQueue {
        &self.wait
    }

    /// A number for a new descriptor.
    pub fn number_descriptor(&self) -> u64 {
        self.next_descriptor.fetch_add(1, Ordering::Relaxed)
    }

    /// What was taken away up to this sequence stays in programs' page tables. Work item only.
    pub fn keep(&self, sequence: u64) {
        self.kept.store(sequence, Ordering::Relaxed);
    }

    /// Up to which sequence; one of an earlier link does no harm, since it is confirmed only when
    /// nothing is mapped.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }
}
