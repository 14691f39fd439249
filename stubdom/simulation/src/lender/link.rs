// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link's lock and waits: `dom0-shim/module/src/link.rs`.

use xenlend_shim_core::link::{Cause, Reason};
use xenlend_shim_core::progress::{Progress, Verdict};

use super::State;
use crate::fault::Fault;
use crate::task::{Turn, Wait};
use crate::world::{Sim, DEADLINE_MS};

/// Messages that one drain takes.
pub const DRAIN_LIMIT: u32 = 64;

/// Whether a wait can be interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing interrupts it.
    Uninterruptible,
    /// A signal does.
    Killable,
}

/// How a wait for the broker can end without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// Nothing moved for the whole deadline.
    Deadline(Cause),
    /// The broker's domain is gone.
    BrokerGone(Cause),
    /// A signal came.
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

/// Runs `act` under the spinlock, in a step of its own.
pub async fn locked<T>(sim: &Sim, act: impl FnOnce(&mut State) -> T) -> T {
    sim.step().await;
    locked_now(sim, act)
}

/// The same, in the step that is being taken.
pub fn locked_now<T>(sim: &Sim, act: impl FnOnce(&mut State) -> T) -> T {
    let state = &mut *sim.lender.state.borrow_mut();
    let before = state.core.state();
    let result = act(state);
    let effects = state.core.take_effects();
    if effects.wake {
        sim.lender.wakes.set(sim.lender.wakes.get() + 1);
    }
    if effects.notify && !sim.config.has(Fault::ForgetNotification) {
        sim.broker_pending.set(true);
    }
    if state.core.state() != before {
        sim.note(|| format!("lender's link: {:?}", state.core.state()));
    }
    result
}

/// Waits for another wake-up; 0 ms is for ever. True if a signal came; and whether it was the time.
async fn wait(sim: &Sim, seen: u64, ms: u32, mode: Mode) -> (bool, bool) {
    let until = (ms > 0).then(|| sim.now_ms.get() + u64::from(ms));
    let killable = mode == Mode::Killable;
    Turn::new(sim, Wait::Woken { seen, until, killable }).await;
    let woken = sim.lender.wakes.get() != seen;
    (!woken && killable && sim.lender.signalled.get(), !woken)
}

/// Waits for a wake-up for as long as it takes, or for so many ms.
pub async fn wait_idle(sim: &Sim, seen: u64, ms: u32) {
    wait(sim, seen, ms, Mode::Uninterruptible).await;
}

/// Waits for the broker until `look` finds what it waits for: room.
pub async fn wait_for_broker<T>(
    sim: &Sim,
    mode: Mode,
    mut look: impl FnMut(&mut State) -> Option<T>,
) -> Result<T, WaitEnd> {
    wait_for_answer(sim, mode, |state| look(state).ok_or(None)).await
}

/// Waits for the broker until `look` finds an answer, or says where in the ring the question ends.
pub async fn wait_for_answer<T>(
    sim: &Sim,
    mode: Mode,
    mut look: impl FnMut(&mut State) -> Result<T, Option<u32>>,
) -> Result<T, WaitEnd> {
    let mut progress: Option<Progress> = None;
    loop {
        let (found, movements, late) = locked(sim, |state| {
            state.core.drain(DRAIN_LIMIT);
            let found = look(state);
            let movements = match &found {
                Err(Some(position)) => state.core.movements_towards(*position),
                _ => state.core.activity(),
            };
            (found, movements, state.core.cause(Reason::Deadline))
        })
        .await;
        let seen = sim.lender.wakes.get();
        if let Ok(found) = found {
            return Ok(found);
        }
        let now = sim.now_ms.get();
        let progress = progress.get_or_insert_with(|| Progress::start(DEADLINE_MS, now, movements));
        let Verdict::Wait(ms) = progress.observe(now, movements) else {
            return Err(WaitEnd::Deadline(late));
        };
        let (signal, time_out) = wait(sim, seen, ms, mode).await;
        if signal {
            return Err(WaitEnd::Signal);
        }
        if time_out && sim.xen.borrow().broker.dying {
            return Err(WaitEnd::BrokerGone(Cause { reason: Reason::BrokerGone, ..late }));
        }
    }
}
