// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask`: the project's commands, one file each.

mod apt;
mod boot;
mod build_root;
mod chroot;
mod command;
mod cpio;
mod demo;
mod digest;
mod figures;
mod fuzz;
mod heartbeat;
mod hypervisor;
mod images;
mod initramfs;
mod kernel_image;
mod kernel_module;
mod lab;
mod lab_cc;
mod lab_run;
mod lab_screenshot;
mod lab_up;
mod lock;
mod measured;
mod parts;
mod preflight;
mod programs;
mod progress;
mod qemu;
mod qmp;
mod report;
mod running;
mod rust_object;
mod scenario_run;
mod scenarios;
mod session;
mod test;
mod test_demo;
mod test_queue;
mod trouble;
mod unikernel;
mod workspace;
mod xen;
mod xen_build;
mod xen_series;
mod xen_source;

use std::process::ExitCode;

use clap::Parser;

/// The project's commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// One command.
#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Real Xen on this machine, without hardware virtualisation
    #[command(subcommand)]
    Lab(lab::Command),
    /// A guest draws into buffers of dom0's GPU driver while that driver moves them
    Demo(demo::Arguments),
    /// Counts what lending costs on both kinds of Xen
    Figures(figures::Arguments),
    /// Runs the fuzz targets of the decoders and the rings
    Fuzz(fuzz::Arguments),
    /// Formats and lints, host tests, and the scenarios on real Xen
    Test(test::Arguments),
    /// Builds the hypervisor with the patches of boot/xen
    Xen(xen::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Lab(command) => lab::run(&command),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Figures(arguments) => figures::run(&arguments).map(|()| 0),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Test(arguments) => test::run(&arguments),
        Command::Xen(arguments) => xen::run(&arguments).map(|()| 0),
    };
    match result {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX)),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
