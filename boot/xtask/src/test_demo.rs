// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo as a test: it holds, and a byte that is flipped on purpose makes it fail.

use anyhow::Result;

use crate::demo::{self, Arguments, Shown};
use crate::hypervisor::Flavour;
use crate::parts::Parts;
use crate::scenario_run::Verdict;
use crate::workspace::Workspace;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demo {
    /// As people run it.
    Plain,
    /// With a flipped byte.
    FlippedByte,
    /// In a guest without the borrower's driver.
    NoFrontend,
}

impl Demo {
    /// All; the first is a part of the core.
    pub const ALL: [Self; 3] = [Self::Plain, Self::FlippedByte, Self::NoFrontend];

    /// What it shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "demo: moving buffers are shared without an error",
            Self::FlippedByte => "demo: a flipped byte makes it fail",
            Self::NoFrontend => "demo: it holds without the borrower's driver",
        }
    }

    /// Runs it. Its logs stay in the lab's test folder.
    pub fn run(self, workspace: &Workspace, parts: &Parts) -> Verdict {
        let folder = workspace.lab().join("test").join(match self {
            Self::Plain => "demo",
            Self::FlippedByte => "demo-flipped",
            Self::NoFrontend => "demo-no-frontend",
        });
        let flip_byte = self == Self::FlippedByte;
        let no_frontend = self == Self::NoFrontend;
        let (xen, parts) = (Flavour::Stock, parts.clone());
        let arguments = Arguments { seconds: 20, flip_byte, no_frontend, xen, out: None, parts };
        self.judge(demo::carry_out(workspace, &arguments, &folder, &mut |_| {}))
    }

    fn judge(self, result: Result<Shown>) -> Verdict {
        match (self, result) {
            (_, Err(error)) => Verdict::Failed(format!("{error:#}")),
            (Self::Plain | Self::NoFrontend, Ok(shown)) if shown.troubles().is_empty() => Verdict::Passed,
            (Self::Plain | Self::NoFrontend, Ok(shown)) => Verdict::Failed(shown.troubles().join("; ")),
            // For no other reason than that byte.
            (Self::FlippedByte, Ok(shown)) if shown.integrity_errors() > 0 => Verdict::Passed,
            (Self::FlippedByte, Ok(_)) => Verdict::Failed("nobody noticed".to_owned()),
        }
    }
}
