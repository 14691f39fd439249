// SPDX-License-Identifier: MIT OR Apache-2.0
//! Flows of control of the lender's kernel, written as they are there; every `await` is a place where
//! anybody else may go first.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::guest::PROGRAMS;
use crate::world::{Sim, World};

/// The page-in worker.
pub const WORKER: u8 = 0;
/// Operations of the lender's memory management.
pub const OPERATIONS: std::ops::Range<u8> = 1..4;
/// Region calls of the VMM.
pub const CALLS: std::ops::Range<u8> = 4..6;
/// Detach.
pub const DETACH: u8 = 6;
/// The tool that names the borrower's grants.
pub const TOOL: u8 = 7;
/// The work item of the borrower's driver. From here on flows need a processor of the borrower.
pub const WORK: u8 = 8;
/// The borrower's bus.
pub const BUS: u8 = 9;
/// The first of the borrower's programs.
pub const FIRST_PROGRAM: u8 = 10;
/// All.
pub const TASKS: u8 = FIRST_PROGRAM + PROGRAMS as u8;

/// What a flow waits for.
pub enum Wait {
    /// Nothing: it goes on when it is chosen.
    Nothing,
    /// For this to be so.
    Until(Box<dyn Fn(&World) -> bool>),
    /// For something to do: whoever waits so waits for nobody.
    Idle(Box<dyn Fn(&World) -> bool>),
    /// For the link's wake-up, or for the clock to reach a time, or for a signal.
    Woken {
        /// Wake-ups seen.
        seen: u64,
        /// Time, in ms.
        until: Option<u64>,
        /// Whether a signal ends it.
        killable: bool,
    },
}

impl Wait {
    /// Whether it is over.
    pub fn is_over(&self, world: &World) -> bool {
        match self {
            Self::Nothing => true,
            Self::Until(condition) | Self::Idle(condition) => condition(world),
            Self::Woken { seen, until, killable } => {
                world.lender.wakes.get() != *seen
                    || until.is_some_and(|until| world.now_ms.get() >= until)
                    || *killable && world.lender.signalled.get()
            }
        }
    }
}

struct Flow {
    name: &'static str,
    future: Pin<Box<dyn Future<Output = ()>>>,
    wait: Wait,
}

/// The flows that exist.
#[derive(Default)]
pub struct Tasks {
    flows: [RefCell<Option<Flow>>; TASKS as usize],
    /// What the flow that is being run has asked to wait for.
    asked: RefCell<Option<Wait>>,
}

impl Tasks {
    /// Starts a flow in a free place of these; false if there is none.
    pub fn start(
        &self,
        places: impl IntoIterator<Item = u8>,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> bool {
        let free = places.into_iter().find(|place| !self.exists(*place));
        let Some(place) = free else { return false };
        *self.flows[usize::from(place)].borrow_mut() =
            Some(Flow { name, future: Box::pin(future), wait: Wait::Nothing });
        true
    }

    /// Whether there is a flow in a place.
    pub fn exists(&self, place: u8) -> bool {
        self.flows[usize::from(place)].borrow().is_some()
    }

    /// Whether a place's flow can go on.
    pub fn can_go_on(&self, place: u8, world: &World) -> bool {
        let has_processor = || world.xen.borrow().borrower.runs() && world.has_free_vcpu();
        (place < WORK || has_processor())
            && self.flows[usize::from(place)].borrow().as_ref().is_some_and(|flow| flow.wait.is_over(world))
    }

    /// Whether some flow waits for the clock.
    pub fn any_timed(&self) -> bool {
        self.flows.iter().any(|flow| {
            matches!(flow.borrow().as_ref().map(|flow| &flow.wait), Some(Wait::Woken { until: Some(_), .. }))
        })
    }

    /// The names of the flows in these places, except of those that have nothing to do.
    pub fn names(&self, places: std::ops::Range<u8>) -> Vec<&'static str> {
        let idle = |flow: &Flow| {
            let has_no_request = matches!(flow.wait, Wait::Woken { until: None, killable: false, .. });
            flow.name == "worker" && has_no_request || matches!(flow.wait, Wait::Idle(_))
        };
        let busy = |flow: &RefCell<Option<Flow>>| {
            flow.borrow().as_ref().filter(|flow| !idle(flow)).map(|flow| flow.name)
        };
        places.filter_map(|place| busy(&self.flows[usize::from(place)])).collect()
    }

    /// Lets a flow take one step.
    pub fn run(&self, place: u8) {
        let cell = &self.flows[usize::from(place)];
        let Some(mut flow) = cell.borrow_mut().take() else { return };
        let mut context = Context::from_waker(Waker::noop());
        match flow.future.as_mut().poll(&mut context) {
            Poll::Ready(()) => {}
            Poll::Pending => {
                flow.wait = self.asked.borrow_mut().take().unwrap_or(Wait::Nothing);
                *cell.borrow_mut() = Some(flow);
            }
        }
    }

    /// Ends every flow where it stands. They hold the world, which holds them.
    pub fn clear(&self) {
        for flow in &self.flows {
            let ended = flow.borrow_mut().take();
            drop(ended);
        }
    }
}

/// Lets others go first.
pub struct Turn {
    sim: Sim,
    wait: Option<Wait>,
}

impl Turn {
    /// Until a wait is over.
    pub fn new(sim: &Sim, wait: Wait) -> Self {
        Self { sim: Rc::clone(sim), wait: Some(wait) }
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        match self.wait.take() {
            Some(wait) => {
                *self.sim.tasks.asked.borrow_mut() = Some(wait);
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}
