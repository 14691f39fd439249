// SPDX-License-Identifier: MIT OR Apache-2.0
//! The parts of xenlend that the lab builds into its images. Any of them can be left out, for work on
//! the others.

use clap::ValueEnum;

/// One part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The broker.
    Broker,
    /// The command line tool of dom0.
    Cli,
    /// The borrower's kernel module.
    Frontend,
    /// The lender's kernel module.
    Module,
    /// The programs of the scenarios.
    Scenarios,
    /// The kernel modules of the scenarios.
    TestModules,
    /// The guest's program.
    Touch,
}

/// The parts that are built.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Parts {
    /// Leave a part out of the images
    #[arg(long = "skip", value_name = "PART", value_enum, global = true)]
    skipped: Vec<Part>,
}

impl Parts {
    /// Whether this one is built.
    pub fn has(&self, part: Part) -> bool {
        !self.skipped.contains(&part)
    }
}
