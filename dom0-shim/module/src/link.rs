// SPDX-License-Identifier: MIT OR Apache-2.0
//! One link: the core's state under its lock, and what belongs to it in this kernel.

use xenlend_shim_core::crew::MAX_WORKERS;
use xenlend_shim_core::kind::Kind;
use xenlend_shim_core::link::{Awaited, Cause, Link as CoreLink, Reason, MAX_THREADS};
use xenlend_shim_core::patience::{For, Patience, Verdict};
use xenlend_shim_core::regions::{Aperture, MAX_REGIONS};

use crate::bars::Bars;
use crate::errno::{Errno, EINTR};
use crate::frames::Frames;
use crate::hypervisor::Hypervisor;
use crate::kernel_api::event_channel::{Handler, Port};
use crate::kernel_api::grant::{OwnedRing, RingPages};
use crate::kernel_api::lock::{Mutex, MutexGuard, SpinLock};
use crate::kernel_api::memory::{KernelMemory, KernelSlice};
use crate::kernel_api::module::ModuleReference;
use crate::kernel_api::now_ms;
use crate::kernel_api::region::Armed;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::{Mode, Seen, WaitQueue, Woken};
use crate::kernel_api::worker::Worker;
use crate::visits::Visits;
use crate::waiter::Waiter;

/// Messages that one drain takes: the event handler's bound.
const DRAIN_LIMIT: u32 = 64;

/// The core's link over this kernel's memory.
pub type Core = CoreLink<OwnedRing, KernelMemory>;

/// What the spinlock protects.
pub struct State {
    /// All that is decided.
    pub core: Core,
    /// The kernel's object of each region, by slot.
    pub objects: KernelSlice<Option<Armed>>,
    /// The worker threads, by number.
    pub threads: KernelSlice<Option<Worker>>,
    /// The threads that wait for pages.
    pub waiters: KernelSlice<Option<Waiter>>,
    /// Number of the newest of them.
    pub newest_waiter: u32,
    /// The workers have to end.
    pub stopping: bool,
    /// What the broker had done by the last event.
    pub activity: u64,
}

/// What lives from attach to detach.
#[derive(Default)]
pub struct Running {
    /// The event handler.
    pub handler: Option<Handler>,
    /// Keeps the module loaded.
    pub module: Option<ModuleReference>,
    /// No more regions.
    pub ended: bool,
}

/// A link. Fields are in the order of the locks: outermost first.
pub struct Link {
    /// The borrower's domain.
    pub borrower: u16,
    /// The broker's domain.
    pub broker: u16,
    /// The window.
    pub aperture: Aperture,
    /// Without a movement of the broker.
    pub deadline_ms: u32,
    /// Verify every acknowledgement.
    pub check: bool,
    /// What Xen can do for the borrower.
    pub kind: Kind,
    /// Calls to Xen.
    pub hypervisor: Hypervisor,
    /// The broker binds to it.
    pub port: Port,
    /// Grants for the broker.
    pub pages: Shared<RingPages>,
    /// Region calls and detach, one at a time. Never taken by a notifier.
    pub running: Mutex<Running>,
    /// The one Present that may be unanswered, from before the borrower is paused to the answer.
    /// Workers only.
    pub presenting: Mutex<()>,
    /// Revocation by force, one at a time.
    pub force: Mutex<()>,
    /// The naming or withdrawal of a BAR, one at a time.
    pub naming: Mutex<()>,
    /// BARs that may be lent from.
    pub bars: Mutex<Bars>,
    /// What Xen lets the broker lend.
    pub frames: Mutex<Frames>,
    /// Pages of zeros that are lent for a moment.
    pub visits: Mutex<Visits>,
    state: SpinLock<State>,
    wait: WaitQueue,
    /// Where workers wait for the lead.
    relief: WaitQueue,
}

/// Parts of a new link.
pub struct Parts {
    /// See [`Link`].
    pub borrower: u16,
    /// See [`Link`].
    pub broker: u16,
    /// See [`Link`].
    pub aperture: Aperture,
    /// See [`Link`].
    pub deadline_ms: u32,
    /// See [`Link`].
    pub check: bool,
    /// See [`Link`].
    pub kind: Kind,
    /// See [`Link`].
    pub hypervisor: Hypervisor,
    /// See [`Link`].
    pub port: Port,
    /// See [`Link`].
    pub pages: Shared<RingPages>,
    /// See [`Link`].
    pub frames: Frames,
    /// See [`State`].
    pub core: Core,
}

impl Link {
    /// `None` if memory is short.
    pub fn new(parts: Parts) -> Option<Self> {
        let objects = KernelSlice::new(MAX_REGIONS, || None)?;
        let threads = KernelSlice::new(MAX_WORKERS, || None)?;
        let waiters = KernelSlice::new(MAX_THREADS, || None)?;
        let state = State {
            core: parts.core,
            objects,
            threads,
            waiters,
            newest_waiter: 0,
            stopping: false,
            activity: 0,
        };
        Some(Self {
            borrower: parts.borrower,
            broker: parts.broker,
            aperture: parts.aperture,
            deadline_ms: parts.deadline_ms,
            check: parts.check,
            kind: parts.kind,
            hypervisor: parts.hypervisor,
            port: parts.port,
            pages: parts.pages,
            running: Mutex::new(Running::default())?,
            presenting: Mutex::new(())?,
            force: Mutex::new(())?,
            naming: Mutex::new(())?,
            bars: Mutex::new(Bars::default())?,
            frames: Mutex::new(parts.frames)?,
            visits: Mutex::new(Visits::new()?)?,
            state: SpinLock::new(state)?,
            wait: WaitQueue::new()?,
            relief: WaitQueue::new()?,
        })
    }

    /// Runs `act` under the spinlock: no sleeping, allocating or freeing in it. Afterwards wakes
    /// and notifies whoever the core wants to.
    pub fn locked<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock();
        let result = act(&mut state);
        let effects = state.core.take_effects();
        if effects.wake {
            self.wait.wake();
        }
        if effects.relieve || state.stopping {
            self.relief.wake();
        }
        drop(state);
        if effects.notify {
            self.port.notify();
        }
        result
    }

    /// In the event handler: takes what the broker says. Never sleeps. True if the broker has done
    /// anything since the last event, whoever took it.
    pub fn on_event(&self) -> bool {
        self.locked(|state| {
            // Whatever the event was for: room in the ring is no message, and a rest beyond the
            // limit is for whoever wakes.
            state.core.drain(DRAIN_LIMIT);
            state.core.wake();
            let activity = state.core.activity();
            core::mem::replace(&mut state.activity, activity) != activity
        })
    }

    /// Takes what the broker says; to be called by whoever waits for it, so that no wait
    /// depends on the event handler alone.
    pub fn drain(state: &mut State) {
        state.core.drain(DRAIN_LIMIT);
    }

    /// The count of wake-ups; to be read under the lock.
    pub fn seen(&self) -> Seen {
        self.wait.seen()
    }

    /// Waits for another wake-up; 0 ms is for ever.
    pub fn wait(&self, seen: Seen, ms: u32, mode: Mode) -> Woken {
        self.wait.wait(seen, ms, mode)
    }

    /// The count of calls for somebody to lead; to be read under the lock.
    pub fn relief_seen(&self) -> Seen {
        self.relief.seen()
    }

    /// By a worker: waits for another call.
    pub fn await_relief(&self, seen: Seen) {
        self.relief.wait(seen, 0, Mode::Idle);
    }

    /// The queue, for `poll()`.
    pub fn wait_queue(&self) -> &WaitQueue {
        &self.wait
    }

    /// Patience for a piece of work of which nothing has been waited for yet.
    pub fn patience(&self, whom: For) -> Patience {
        Patience::new(self.deadline_ms, whom)
    }

    /// Waits for the broker until `look` finds under the lock what it waits for: room. With a patience of
    /// its own.
    pub fn wait_for_broker<T>(
        &self,
        mode: Mode,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, WaitEnd> {
        self.wait_within(mode, &mut self.patience(For::Nobody), |state| look(state).ok_or(Awaited::Room))
    }

    /// Waits for the broker until `look` finds an answer under the lock, or says where in the ring the
    /// question ends if it is there. With a patience of its own.
    pub fn wait_for_answer<T>(
        &self,
        mode: Mode,
        mut look: impl FnMut(&mut State) -> Result<T, Option<u32>>,
    ) -> Result<T, WaitEnd> {
        self.wait_within(mode, &mut self.patience(For::Nobody), |state| {
            look(state).map_err(|position| position.map_or(Awaited::Room, Awaited::Answer))
        })
    }

    /// Waits for the broker until `look` finds under the lock what it waits for, or says what that is: as
    /// long as the patience lasts.
    pub fn wait_within<T>(
        &self,
        mode: Mode,
        patience: &mut Patience,
        mut look: impl FnMut(&mut State) -> Result<T, Awaited>,
    ) -> Result<T, WaitEnd> {
        patience.begin_wait();
        loop {
            let now = now_ms();
            let (found, seen, late) = self.locked(|state| {
                Self::drain(state);
                let found = look(state).map_err(|awaited| state.core.keep_waiting(awaited, patience, now));
                (found, self.seen(), state.core.cause(Reason::Deadline))
            });
            let ms = match found {
                Ok(found) => return Ok(found),
                Err(Verdict::Wait(ms)) => ms,
                Err(Verdict::Expired) => return Err(WaitEnd::Deadline(late)),
            };
            match self.wait.wait(seen, ms, mode) {
                Woken::Yes => {}
                Woken::Signal => return Err(WaitEnd::Signal),
                Woken::TimeOut => {
                    if self.hypervisor.is_gone(self.broker) {
                        let gone = Cause { reason: Reason::BrokerGone, ..late };
                        return Err(WaitEnd::BrokerGone(gone));
                    }
                }
            }
        }
    }

    /// Begins a region call or a frontend call, when no other runs and nobody waits to end something.
    ///
    /// # Errors
    /// `EINTR` if the caller was killed meanwhile.
    pub fn begin_call(&self) -> Result<MutexGuard<'_, Running>, Errno> {
        loop {
            let running = self.running.lock_killable().ok_or(EINTR)?;
            let (ending, seen) = self.locked(|state| (state.core.is_ending(), self.seen()));
            if !ending {
                return Ok(running);
            }
            drop(running);
            if self.wait.wait(seen, 0, Mode::Killable) == Woken::Signal {
                return Err(EINTR);
            }
        }
    }

    /// Begins to end something, for which whoever makes a call has to hurry: close or detach.
    pub fn begin_ending(&self) -> Ending<'_> {
        let since_ms = now_ms();
        self.locked(|state| state.core.begin_ending(since_ms));
        Ending { link: self, since_ms }
    }
}

/// Something is being ended: calls hurry until this is dropped.
pub struct Ending<'a> {
    link: &'a Link,
    since_ms: u64,
}

impl Ending<'_> {
    /// The patience for all of it, since it began.
    pub fn patience(&self) -> Patience {
        self.link.patience(For::End(self.since_ms))
    }
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.link.locked(|state| state.core.finish_ending());
    }
}

/// How a wait for the broker can end without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// Nothing moved for the whole deadline, or the patience is used up.
    Deadline(Cause),
    /// The broker's domain is dying or gone.
    BrokerGone(Cause),
    /// A signal came: says nothing of the broker.
    Signal,
}

impl WaitEnd {
    /// Why force has to follow, if so.
    pub fn cause(self) -> Option<Cause> {
        match self {
            Self::Deadline(cause) | Self::BrokerGone(cause) => Some(cause),
            Self::Signal => None,
        }
    }
}
