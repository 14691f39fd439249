// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes saved machines: "dom0 up" out of a boot, "guests up" out of that. Each is made at its first use. Memory and
//! the rest of the state are two files, and the logs until the saving are beside them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use xenlend_lab::host::STATUS_LAB_FAILED;

use crate::command::succeed;
use crate::lab_machine::{guests_key, Lab, Plan};
use crate::live::Live;
use crate::progress::step;
use crate::qemu::Start;
use crate::report::Report;
use crate::running::RunFolder;
use crate::session::{Outcome, Session};
use crate::snapshot_store::{Snapshot, Store};

/// The files of a saved machine.
pub const MEMORY: &str = "memory";
pub const STATE: &str = "state";
pub const LOGS: &str = "logs";

/// What stands for the initramfs where a machine is restored: nobody reads it there any more.
pub const NO_INITRAMFS: &str = "no-initramfs";

/// How long a boot may take.
const TIMEOUT: Duration = Duration::from_secs(900);

/// How often one is made again when the emulator may have spoiled it.
const REPEATS: u32 = 4;

/// How often one is made again that did not come up, or whose processors were never seen halted all
/// at once: a busy host is reason enough for either.
const MORE_TRIES: u32 = 2;

/// The saved machines that a lab can use.
pub struct Snapshots<'a> {
    lab: &'a Lab<'a>,
    store: Store,
}

impl<'a> Snapshots<'a> {
    /// Those of a lab.
    pub fn of(lab: &'a Lab<'a>) -> Self {
        Self { lab, store: Store::new(lab.workspace.cache.join("snapshots")) }
    }

    /// The key of a plan's machine with everything up.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn key(&self, plan: &Plan) -> Result<String> {
        let dom0 = self.lab.dom0_key(plan)?;
        if plan.job.guests == 0 {
            return Ok(dom0);
        }
        guests_key(&dom0, &plan.job)
    }

    /// Whether the machine of this key is there.
    pub fn has(&self, key: &str) -> bool {
        self.store.has(key)
    }

    /// Removes one that cannot be restored: the next run makes it again.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn discard(&self, key: &str, snapshot: Snapshot) -> Result<()> {
        self.store.discard(key, snapshot)
    }

    /// A plan's machine with everything up; made if it is not there. Where that fails the logs are put into a folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn obtain(&self, plan: &Plan, failed: &Path) -> Result<Snapshot> {
        let dom0_key = self.lab.dom0_key(plan)?;
        let dom0 = || {
            self.store.obtain(&dom0_key, |partial| {
                step("Booting dom0 for a snapshot", || {
                    self.again(plan, partial, failed, |to| self.boot(plan, false, to))
                })
            })
        };
        if plan.job.guests == 0 {
            return dom0();
        }
        self.store.obtain(&guests_key(&dom0_key, &plan.job)?, |partial| {
            // One guest of two vCPUs that came up in a restored machine stood still: a vCPU had missed an interrupt.
            // Whether the restoring had a part in it is not known.
            if plan.job.vcpus > 1 {
                return step("Booting dom0 and guests for a snapshot", || {
                    self.again(plan, partial, failed, |to| self.boot(plan, true, to))
                });
            }
            let base = dom0()?;
            step("Bringing guests up for a snapshot", || {
                self.again(plan, partial, failed, |to| add_guests(plan, &base, to))
            })
        })
    }

    /// Makes one until the emulator has reported no fault of its own: what was spoiled before the saving would be so
    /// in every run.
    fn again(
        &self,
        plan: &Plan,
        partial: &Path,
        failed: &Path,
        make: impl Fn(&Path) -> Result<Outcome>,
    ) -> Result<()> {
        let mut attempt = 0;
        loop {
            crate::digest::remove(partial)?;
            let logs = partial.join(LOGS);
            std::fs::create_dir_all(&logs).with_context(|| logs.display().to_string())?;
            let start = Instant::now();
            let outcome = make(partial).unwrap_or_else(|error| Outcome {
                status: STATUS_LAB_FAILED,
                trouble: Some(format!("{error:#}")),
                stages: Vec::new(),
            });
            let report = Report::of(&outcome, start.elapsed(), partial, self.lab, plan, None);
            report.write(partial)?;
            let faults = report.faults();
            match outcome {
                Outcome { status: 0, .. } if faults.is_empty() => return shrink(partial),
                _ if attempt < if faults.is_empty() { MORE_TRIES } else { REPEATS } => attempt += 1,
                Outcome { status, trouble, .. } => {
                    let logs = failed.join(LOGS);
                    crate::digest::remove(&logs)?;
                    std::fs::create_dir_all(failed).with_context(|| failed.display().to_string())?;
                    copy(&partial.join(LOGS), &logs)?;
                    let why = trouble
                        .unwrap_or_else(|| format!("status {status}, faults of the emulator: {faults:?}"));
                    bail!("no machine to save came up: {why} (logs in {})", logs.display());
                }
            }
        }
    }

    /// Boots dom0 and saves it, with its guests or without.
    fn boot(&self, plan: &Plan, guests: bool, to: &Path) -> Result<Outcome> {
        let run = RunFolder::create()?;
        let initramfs = run.join("dom0.cpio");
        self.lab.write_initramfs(plan, &initramfs)?;
        std::fs::write(to.join(NO_INITRAMFS), [0; 512]).context(NO_INITRAMFS)?;
        let memory = to.join(MEMORY);
        let logs = to.join(LOGS);
        let mut live = Live::start(&plan.machine, run, &initramfs, Start::BootToSave(&memory), &logs)?;
        let mut print = |_: &[u8]| {};
        let mut session = live.session(to, TIMEOUT, &mut print);
        let mut over = session.until_ready()?;
        if guests && over.is_none() {
            over = session.bring_up(&plan.job)?;
        }
        save_unless(over, &mut session, to)
    }
}

/// Goes on with a saved dom0, brings guests up in it, and saves it again.
fn add_guests(plan: &Plan, dom0: &Snapshot, to: &Path) -> Result<Outcome> {
    let memory = to.join(MEMORY);
    for name in [MEMORY, LOGS, NO_INITRAMFS] {
        copy(&dom0.join(name), &to.join(name))?;
    }
    let run = RunFolder::create()?;
    let (logs, none) = (to.join(LOGS), to.join(NO_INITRAMFS));
    let mut live = Live::start(&plan.machine, run, &none, Start::ResumeToSave(&memory), &logs)?;
    let mut print = |_: &[u8]| {};
    let mut session = live.session(to, TIMEOUT, &mut print);
    session.resume(&dom0.join(STATE))?;
    let over = session.bring_up(&plan.job)?;
    save_unless(over, &mut session, to)
}

/// Gives back to the disk what holds nothing but zeros.
fn shrink(folder: &Path) -> Result<()> {
    succeed(Command::new("fallocate").arg("--dig-holes").arg(folder.join(MEMORY))).map(drop)
}

/// Saves a machine, unless it has come to its end; gives how it went until then.
fn save_unless(over: Option<Outcome>, session: &mut Session<'_>, to: &Path) -> Result<Outcome> {
    if let Some(outcome) = over {
        return Ok(outcome);
    }
    session.save(&to.join(STATE))?;
    Ok(Outcome { status: 0, trouble: None, stages: std::mem::take(&mut session.stages) })
}

/// Copies a file, holes and all, or a folder.
///
/// # Errors
/// No room, or what is copied is not there.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let copy = ["--recursive", "--sparse=always", "--no-target-directory"];
    succeed(Command::new("cp").args(copy).args([from, to])).map(drop)
}
