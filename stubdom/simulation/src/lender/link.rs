// SPDX-License-Identifier: MIT OR Apache-2.0
//! The link's lock and waits: `dom0-shim/module/src/link.rs`.

use xenlend_shim_core::link::{Awaited, Cause, Reason};
use xenlend_shim_core::patience::{For, Patience as CorePatience, Verdict, MOST_DEADLINES};

use super::{Guard, Lender, Lock, State};
use crate::fault::Fault;
use crate::task::{Turn, Wait};
use crate::world::{Sim, Wrong, DEADLINE_MS};

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
    /// Nothing moved for the whole deadline, or the patience is used up.
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

/// How long a piece of work waits, and what the simulation knows of that by itself.
pub struct Patience {
    core: CorePatience,
    /// When it has to end, whatever the broker does; known from the first look on.
    ends_ms: Option<u64>,
}

/// Patience for a piece of work of which nothing has been waited for yet.
pub fn patience(whom: For) -> Patience {
    let ends_ms = match whom {
        For::End(since_ms) => Some(since_ms + u64::from(DEADLINE_MS)),
        _ => None,
    };
    Patience { core: CorePatience::new(DEADLINE_MS, whom), ends_ms }
}

/// Waits for the broker until `look` finds what it waits for: room.
pub async fn wait_for_broker<T>(
    sim: &Sim,
    mode: Mode,
    mut look: impl FnMut(&mut State) -> Option<T>,
) -> Result<T, WaitEnd> {
    wait_within(sim, mode, &mut patience(For::Nobody), |state| look(state).ok_or(Awaited::Room)).await
}

/// Waits for the broker until `look` finds an answer, or says where in the ring the question ends.
pub async fn wait_for_answer<T>(
    sim: &Sim,
    mode: Mode,
    mut look: impl FnMut(&mut State) -> Result<T, Option<u32>>,
) -> Result<T, WaitEnd> {
    wait_within(sim, mode, &mut patience(For::Nobody), |state| {
        look(state).map_err(|position| position.map_or(Awaited::Room, Awaited::Answer))
    })
    .await
}

/// Waits for the broker until `look` finds what it waits for, or says what that is.
pub async fn wait_within<T>(
    sim: &Sim,
    mode: Mode,
    patience: &mut Patience,
    mut look: impl FnMut(&mut State) -> Result<T, Awaited>,
) -> Result<T, WaitEnd> {
    patience.core.begin_wait();
    let mut last_movements = None;
    loop {
        let (found, late) = locked(sim, |state| {
            state.core.drain(DRAIN_LIMIT);
            let now = sim.now_ms.get();
            let found = look(state).map_err(|awaited| {
                let movements = match sim.config.fault {
                    Some(Fault::CountBabble) => state.core.activity(),
                    _ => state.core.movements(awaited),
                };
                if sim.config.has(Fault::CountBabble) || sim.config.has(Fault::EndlessPatience) {
                    // Whatever moves has it all start anew.
                    if last_movements.replace(movements) != Some(movements) {
                        patience.core = CorePatience::new(DEADLINE_MS, For::Nobody);
                    }
                    return patience.core.observe(now, movements);
                }
                state.core.keep_waiting(awaited, &mut patience.core, now)
            });
            (found, state.core.cause(Reason::Deadline))
        })
        .await;
        let seen = sim.lender.wakes.get();
        let ms = match found {
            Ok(found) => return Ok(found),
            Err(Verdict::Wait(ms)) => ms,
            Err(Verdict::Expired) => return Err(WaitEnd::Deadline(late)),
        };
        let now = sim.now_ms.get();
        let most = MOST_DEADLINES * u64::from(DEADLINE_MS);
        if now >= *patience.ends_ms.get_or_insert(now + most) {
            sim.fail(Wrong::LongWait, format!("{:?} waits on at {now} ms", patience.core.whom()));
        }
        let (signal, time_out) = wait(sim, seen, ms, mode).await;
        if signal {
            return Err(WaitEnd::Signal);
        }
        if time_out && sim.xen.borrow().broker.dying {
            return Err(WaitEnd::BrokerGone(Cause { reason: Reason::BrokerGone, ..late }));
        }
    }
}

/// Begins a region call or a frontend call, when no other runs and nobody waits to end something.
pub async fn begin_call(sim: &Sim) -> Guard {
    loop {
        let running = Lender::lock(sim, Lock::Running).await;
        if !locked_now(sim, |state| state.core.is_ending()) {
            return running;
        }
        drop(running);
        sim.until(|world| world.lender.state.try_borrow().is_ok_and(|state| !state.core.is_ending())).await;
    }
}
