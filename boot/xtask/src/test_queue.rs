// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hands out the boots of a test run so that the emulated CPUs never outnumber the machine's.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::boot::{Boot, Scenario};

/// A boot and what is to run in it.
type Entry<'a> = (&'a Boot, Vec<Scenario>);

/// The boots that wait, and the processors that are free.
struct State<'a> {
    waiting: VecDeque<Entry<'a>>,
    free: usize,
}

/// A queue that several workers share.
pub struct Queue<'a> {
    state: Mutex<State<'a>>,
    changed: Condvar,
    processors: usize,
}

impl<'a> Queue<'a> {
    /// A queue for a machine with so many processors.
    pub fn new(waiting: VecDeque<Entry<'a>>, processors: usize) -> Self {
        Self { state: Mutex::new(State { waiting, free: processors }), changed: Condvar::new(), processors }
    }

    /// The next boot, as soon as there are processors for it, and how many it takes. They come in
    /// order: a large one is not overtaken for ever.
    pub fn next(&self) -> Option<(&'a Boot, Vec<Scenario>, usize)> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let needed = state.waiting.front().map(|(boot, _)| (boot.pcpus as usize).min(self.processors))?;
            if needed <= state.free {
                let (boot, scenarios) = state.waiting.pop_front()?;
                state.free -= needed;
                return Some((boot, scenarios, needed));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives a finished boot's processors back.
    pub fn give_back(&self, processors: usize) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).free += processors;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use crate::boot::{Boot, PLAIN};

    const SMALL: Boot = PLAIN;
    const LARGE: Boot = Boot { pcpus: 2, ..PLAIN };

    #[test]
    fn a_large_boot_waits_for_all_processors_and_is_not_overtaken() {
        let queue = Queue::new([(&SMALL, vec![]), (&LARGE, vec![]), (&SMALL, vec![])].into(), 2);
        let (_, _, first) = queue.next().unwrap();
        assert_eq!(first, 1);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| queue.next().map(|(boot, _, taken)| (boot.pcpus, taken)));
            queue.give_back(first);
            assert_eq!(waiter.join().unwrap(), Some((2, 2)));
        });
        queue.give_back(2);
        assert_eq!(queue.next().map(|(_, _, taken)| taken), Some(1));
        assert!(queue.next().is_none());
    }

    #[test]
    fn a_machine_with_one_processor_runs_everything_one_by_one() {
        let queue = Queue::new([(&LARGE, vec![]), (&SMALL, vec![])].into(), 1);
        assert_eq!(queue.next().map(|(_, _, taken)| taken), Some(1));
    }
}
