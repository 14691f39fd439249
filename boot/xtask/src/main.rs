// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: the project's commands, one file each.

mod apt;
mod boot;
mod build_root;
mod check;
mod chroot;
mod command;
mod cpio;
mod debian_source;
mod debootstrap;
mod demo;
mod digest;
mod figures;
mod fuzz;
mod heartbeat;
mod host_checks;
mod hypervisor;
mod images;
mod initramfs;
mod kernel_image;
mod kernel_module;
mod lab;
mod lab_cc;
mod lab_machine;
mod lab_run;
mod lab_screenshot;
mod lab_up;
mod lanes;
mod licences;
mod live;
mod lock;
mod measured;
mod named_source;
mod old_kernel;
mod parts;
mod preflight;
mod programs;
mod progress;
mod qemu;
mod qmp;
mod report;
mod results;
mod running;
mod rust_object;
mod scenario_run;
mod scenarios;
mod seed;
mod session;
mod snapshot_lock;
mod snapshot_store;
mod snapshots;
mod tally;
mod test;
mod test_choice;
mod test_core;
mod test_demo;
mod test_queue;
mod test_skips;
mod trouble;
mod unavailable;
mod unikernel;
mod workspace;
mod xen;
mod xen_build;
mod xen_series;
mod xen_source;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::workspace::Workspace;

/// The project's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Folder or archive of the source of Xen 4.20, for what boots or builds any but Debian's own hypervisor
    /// [default: XENLEND_XEN_SOURCE, else Debian's source package]
    #[arg(long, value_name = "PATH", global = true)]
    xen_source: Option<PathBuf>,
}

/// One command.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Real Xen on this machine, without hardware virtualisation
    #[command(subcommand)]
    Lab(lab::Command),
    /// Formats, lints, licences, documentation and host tests: no root, no lab
    Check(check::Arguments),
    /// A guest draws into buffers of dom0's GPU driver while that driver moves them
    Demo(demo::Arguments),
    /// Counts what lending costs on both kinds of Xen
    Figures(figures::Arguments),
    /// Runs the fuzz targets of the decoders and the rings
    Fuzz(fuzz::Arguments),
    /// What `check` does, and a core of the scenarios on real Xen; with --full all of them
    Test(test::Arguments),
    /// Builds the hypervisor with the patches of boot/xen
    Xen(xen::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked and gives the exit status.
fn run(arguments: &Arguments) -> Result<i32> {
    let workspace = &Workspace::locate(arguments.xen_source.as_deref())?;
    match &arguments.command {
        Command::Lab(command) => lab::run(workspace, command),
        Command::Check(arguments) => check::run(workspace, arguments),
        Command::Demo(arguments) => demo::run(workspace, arguments),
        Command::Figures(arguments) => figures::run(workspace, arguments).map(|()| 0),
        Command::Fuzz(arguments) => fuzz::run(workspace, arguments),
        Command::Test(arguments) => test::run(workspace, arguments),
        Command::Xen(arguments) => xen::run(workspace, arguments).map(|()| 0),
    }
}
