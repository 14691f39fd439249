// SPDX-License-Identifier: MIT OR Apache-2.0
//! What kind of history a seed makes.

use xenlend_xen_abi::lend::XenKind;

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

/// How a broker that lies spends its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Temper {
    /// As it should, but for its lies.
    Brisk,
    /// After a while it takes one message just before each deadline.
    Creeping,
    /// After a while it takes nothing more, and says something just before each deadline.
    Babbling,
}

/// The kind of Xen of that name.
pub fn parse_kind(name: &str) -> Option<XenKind> {
    XenKind::ALL.into_iter().find(|kind| kind.name() == name)
}

/// What is chosen beside the seed; the seed chooses what is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Who misbehaves.
    pub mode: Option<Mode>,
    /// The kind of Xen.
    pub kind: Option<XenKind>,
    /// A bug that is switched on.
    pub fault: Option<Fault>,
}

impl Choice {
    /// Of a kind of Xen and a mode, without a bug.
    pub fn of(kind: XenKind, mode: Mode) -> Self {
        Self { mode: Some(mode), kind: Some(kind), fault: None }
    }

    /// With a bug.
    #[must_use]
    pub fn with(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
    }

    /// As the command line has it.
    pub fn options(self) -> String {
        let options = [
            self.mode.map(|mode| format!(" --mode {}", mode.name())),
            self.kind.map(|kind| format!(" --xen {}", kind.name())),
            self.fault.map(|fault| format!(" --fault {}", fault.name())),
        ];
        options.into_iter().flatten().collect()
    }
}

/// What holds for a whole history. It follows from the seed and the choice.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The seed.
    pub seed: u64,
    /// Who misbehaves.
    pub mode: Mode,
    /// The kind of Xen.
    pub kind: XenKind,
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
    /// How the broker spends its time.
    pub temper: Temper,
}

impl Config {
    /// The history of a seed.
    pub fn new(seed: u64, Choice { mode, kind, fault }: Choice) -> Self {
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
        let this = Self {
            seed,
            mode,
            kind: XenKind::Stock,
            fault,
            vcpus: pick(&[1, 2, 3]) as usize,
            check: pick(&[0, 0, 1]) == 1,
            failing_hypercalls: if rough { pick(&[0, 4, 8, 30]) } else { 0 },
            full_rings: if rough { pick(&[0, 0, 3, 10]) } else { 0 },
            clock: if rough { pick(&[0, 1, 4, 12]) } else { 0 },
            incidents: if rough { pick(&[1, 2, 4]) } else { 0 },
            hostile_borrower: rough && pick(&[0, 0, 0, 1]) == 1,
            messages_per_turn: pick(&[1, 4, 32]),
            temper: Temper::Brisk,
            driver: !matches!(mode, Mode::LyingLender | Mode::LyingBorrower) && pick(&[0, 1]) == 1,
        };
        let drawn = XenKind::ALL[random.below(2) as usize];
        let temper = match (fault, mode) {
            (Some(Fault::EndlessPatience), _) => Temper::Creeping,
            (Some(Fault::CountBabble), _) => Temper::Babbling,
            (_, Mode::LyingBroker) => {
                [Temper::Brisk, Temper::Creeping, Temper::Babbling][random.below(3) as usize]
            }
            _ => Temper::Brisk,
        };
        Self { kind: kind.unwrap_or(drawn), temper, ..this }
    }

    /// Whether Xen knows lent pages.
    pub fn is_lend_aware(&self) -> bool {
        self.kind == XenKind::LendAware
    }

    /// Whether this bug is on.
    pub fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }
}
