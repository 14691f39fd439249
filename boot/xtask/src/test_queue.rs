// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hands out the work of a test run so that the emulated CPUs never outnumber the machine's, and so that nobody waits
//! for a saved machine that another is making while there is something else to do.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::boot::{Boot, Scenario};

/// Something to run at once.
#[derive(Debug, Clone)]
pub struct Work<'a> {
    /// What is booted or restored.
    pub boot: &'a Boot,
    /// What runs in it, one after the other.
    pub scenarios: Vec<Scenario>,
    /// The key of the saved machine that it begins with; none if it boots.
    pub key: Option<String>,
}

/// Work that was handed out.
#[derive(Debug)]
pub struct Taken<'a> {
    /// It.
    pub work: Work<'a>,
    /// Processors, to be given back.
    pub processors: usize,
    /// Whether the saved machine has to be made first; whoever gets this says how that went.
    pub makes: bool,
}

/// The work that waits, the processors that are free, and how far the saved machines are.
struct State<'a> {
    waiting: VecDeque<Work<'a>>,
    free: usize,
    made: BTreeSet<String>,
    making: BTreeSet<String>,
}

/// A queue that several workers share.
pub struct Queue<'a> {
    state: Mutex<State<'a>>,
    changed: Condvar,
    processors: usize,
}

impl<'a> Queue<'a> {
    /// A queue for a machine with so many processors, where the machines of these keys have been saved before.
    pub fn new(waiting: VecDeque<Work<'a>>, made: BTreeSet<String>, processors: usize) -> Self {
        let state = State { waiting, free: processors, made, making: BTreeSet::new() };
        Self { state: Mutex::new(state), changed: Condvar::new(), processors }
    }

    /// The next work, as soon as there are processors for it. It comes in order, but what begins with a saved
    /// machine that is being made is overtaken. What takes more processors is not: it would be so for ever.
    pub fn next(&self) -> Option<Taken<'a>> {
        let mut state = self.lock();
        loop {
            if state.waiting.is_empty() {
                return None;
            }
            let first = state.waiting.iter().position(|work| !work.is_in(&state.making));
            let needed = first
                .and_then(|first| state.waiting.get(first))
                .map(|work| (work.boot.pcpus as usize).min(self.processors));
            if let (Some(first), Some(processors)) = (first, needed.filter(|needed| *needed <= state.free)) {
                let work = state.waiting.remove(first)?;
                state.free -= processors;
                let makes = work.key.is_some() && !work.is_in(&state.made);
                if makes {
                    state.making.extend(work.key.clone());
                }
                return Some(Taken { work, processors, makes });
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that a saved machine has been made.
    pub fn made(&self, key: &str) {
        let mut state = self.lock();
        state.making.remove(key);
        state.made.insert(key.to_owned());
        self.changed.notify_all();
    }

    /// Says that a saved machine cannot be made, and gives what would have begun with it.
    pub fn give_up(&self, key: &str) -> Vec<Work<'a>> {
        let mut state = self.lock();
        state.making.remove(key);
        let waiting = std::mem::take(&mut state.waiting);
        let (lost, kept): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|work| work.key.as_deref() == Some(key));
        state.waiting = kept.into();
        self.changed.notify_all();
        lost
    }

    /// Gives processors back.
    pub fn give_back(&self, processors: usize) {
        self.lock().free += processors;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work<'_> {
    /// Whether the machine that it begins with is among these.
    fn is_in(&self, keys: &BTreeSet<String>) -> bool {
        self.key.as_ref().is_some_and(|key| keys.contains(key))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Queue, Taken, Work};
    use crate::boot::{show, Boot, PLAIN};

    const SMALL: Boot = PLAIN;
    const LARGE: Boot = Boot { pcpus: 2, ..PLAIN };

    fn booted(boot: &'static Boot) -> Work<'static> {
        Work { boot, scenarios: Vec::new(), key: None }
    }

    fn restored(name: &'static str, key: &str) -> Work<'static> {
        Work { boot: &SMALL, scenarios: vec![show(name, "", &[])], key: Some(key.to_owned()) }
    }

    fn queue(work: Vec<Work<'static>>, processors: usize) -> Queue<'static> {
        Queue::new(work.into(), BTreeSet::from(["there".to_owned()]), processors)
    }

    fn name(taken: Option<&Taken<'_>>) -> &'static str {
        taken.and_then(|taken| taken.work.scenarios.first()).map_or("", |scenario| scenario.name)
    }

    #[test]
    fn a_large_boot_waits_for_all_processors_and_is_not_overtaken() {
        let queue = queue(vec![booted(&SMALL), booted(&LARGE), booted(&SMALL)], 2);
        let first = queue.next().unwrap().processors;
        assert_eq!(first, 1);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| queue.next().map(|taken| (taken.work.boot.pcpus, taken.processors)));
            queue.give_back(first);
            assert_eq!(waiter.join().unwrap(), Some((2, 2)));
        });
        queue.give_back(2);
        assert_eq!(queue.next().map(|taken| taken.processors), Some(1));
        assert!(queue.next().is_none());
    }

    #[test]
    fn a_machine_with_one_processor_runs_everything_one_by_one() {
        let queue = queue(vec![booted(&LARGE), booted(&SMALL)], 1);
        assert_eq!(queue.next().map(|taken| taken.processors), Some(1));
    }

    #[test]
    fn nobody_waits_for_a_machine_in_the_making_while_there_is_other_work() {
        let work = vec![restored("a1", "a"), restored("a2", "a"), restored("b1", "b"), restored("a3", "a")];
        let queue = queue(work, 2);
        let first = queue.next();
        let second = queue.next();
        assert_eq!((name(first.as_ref()), name(second.as_ref())), ("a1", "b1"));
        assert!(first.unwrap().makes && second.unwrap().makes);
        queue.give_back(1);
        queue.give_back(1);
        std::thread::scope(|scope| {
            // Nothing but what begins with a machine in the making is left: now it is waited for.
            let waiter = scope.spawn(|| queue.next());
            queue.made("a");
            let third = waiter.join().unwrap();
            assert_eq!(name(third.as_ref()), "a2");
            assert!(!third.unwrap().makes, "it has been made");
        });
        assert_eq!(name(queue.next().as_ref()), "a3");
        assert!(queue.next().is_none());
    }

    #[test]
    fn a_machine_that_was_saved_before_is_not_made() {
        let queue = queue(vec![restored("one", "there")], 1);
        assert!(!queue.next().unwrap().makes);
    }

    #[test]
    fn what_needs_a_machine_that_cannot_be_made_is_given_back_and_the_rest_goes_on() {
        let queue = queue(vec![restored("a1", "a"), restored("a2", "a"), restored("b1", "b")], 1);
        assert_eq!(name(queue.next().as_ref()), "a1");
        let lost = queue.give_up("a");
        assert_eq!(lost.iter().map(|work| work.scenarios[0].name).collect::<Vec<_>>(), ["a2"]);
        queue.give_back(1);
        assert_eq!(name(queue.next().as_ref()), "b1");
        assert!(queue.next().is_none());
    }
}
