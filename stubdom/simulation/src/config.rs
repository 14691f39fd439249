// SPDX-License-Identifier: MIT OR Apache-2.0
//! What kind of history a seed makes.

use crate::fault::Fault;
use crate::random::Random;

/// Who misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nobody, and nothing fails: nothing may ever be revoked by force.
    Calm,
    /// Hypercalls fail, time passes, the broker is paused or killed, the borrower does to itself what it can.
    Rough,
    /// As rough, and the broker writes anything into the rings.
    LyingBroker,
    /// The lender's end is no module of ours but says what it likes, in any order.
    LyingLender,
    /// As calm, but the borrower's driver says what it likes: nobody else may notice.
    LyingBorrower,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Self; 5] =
        [Self::Calm, Self::Rough, Self::LyingBroker, Self::LyingLender, Self::LyingBorrower];

    /// Whether nobody else breaks anything and nothing fails.
    pub fn is_calm(self) -> bool {
        matches!(self, Self::Calm | Self::LyingBorrower)
    }

    /// Whether lender and broker keep the contract.
    pub fn is_honest(self) -> bool {
        self.is_calm() || self == Self::Rough
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Calm => "calm",
            Self::Rough => "rough",
            Self::LyingBroker => "lying-broker",
            Self::LyingLender => "lying-lender",
            Self::LyingBorrower => "lying-borrower",
        }
    }

    /// The mode of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// What holds for a whole history. It follows from the seed, the mode and the fault.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The seed.
    pub seed: u64,
    /// Who misbehaves.
    pub mode: Mode,
    /// A bug that is switched on.
    pub fault: Option<Fault>,
    /// vCPUs of the borrower.
    pub vcpus: usize,
    /// The lender verifies every acknowledgement.
    pub check: bool,
    /// One in so many hypercalls fails; 0 is none.
    pub failing_hypercalls: u32,
    /// One in so many messages of the broker finds no room; 0 is none.
    pub full_rings: u32,
    /// How often time passes, against 10 for other steps.
    pub clock: u32,
    /// How often something breaks.
    pub incidents: u32,
    /// The borrower puts pages of its own into the aperture.
    pub hostile_borrower: bool,
    /// Messages that the broker takes in a turn.
    pub messages_per_turn: u32,
    /// The borrower has our driver.
    pub driver: bool,
}

impl Config {
    /// The history of a seed. Without a mode the seed chooses one too.
    pub fn new(seed: u64, mode: Option<Mode>, fault: Option<Fault>) -> Self {
        let mut random = Random::new(seed ^ 0x6578_6e6c_656e_6400);
        let drawn = match random.below(9) {
            0..=2 => Mode::Calm,
            3..=5 => Mode::Rough,
            6 => Mode::LyingBroker,
            7 => Mode::LyingBorrower,
            _ => Mode::LyingLender,
        };
        let mode = mode.unwrap_or(drawn);
        let rough = !mode.is_calm();
        let mut pick = |choices: &[u32]| choices[random.below(choices.len() as u32) as usize];
        Self {
            seed,
            mode,
            fault,
            vcpus: pick(&[1, 2, 3]) as usize,
            check: pick(&[0, 0, 1]) == 1,
            failing_hypercalls: if rough { pick(&[0, 4, 8, 30]) } else { 0 },
            full_rings: if rough { pick(&[0, 0, 3, 10]) } else { 0 },
            clock: if rough { pick(&[0, 1, 4, 12]) } else { 0 },
            incidents: if rough { pick(&[1, 2, 4]) } else { 0 },
            hostile_borrower: rough && pick(&[0, 0, 0, 1]) == 1,
            messages_per_turn: pick(&[1, 4, 32]),
            driver: !matches!(mode, Mode::LyingLender | Mode::LyingBorrower) && pick(&[0, 1]) == 1,
        }
    }

    /// Whether this bug is on.
    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}
