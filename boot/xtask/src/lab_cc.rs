// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask lab cc`: compiles a C program, or a C kernel module, for the lab.

use std::path::PathBuf;

use anyhow::{bail, Context, Result};

use crate::build_root::BuildRoot;
use crate::chroot::Chroot;
use crate::command::succeed;
use crate::workspace::Workspace;
use crate::{kernel_module, preflight};

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// C source
    #[arg(value_name = "FILE.c")]
    file: PathBuf,
    /// Where the program (or module) goes
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Build a kernel module for the lab's kernel instead of a program
    #[arg(long)]
    module: bool,
    /// More for the compiler's command line
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<String>,
}

/// Does it.
///
/// # Errors
/// The compiler's.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let file = std::path::absolute(&arguments.file)?;
    let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else {
        bail!("{} is no file", arguments.file.display())
    };
    if !file.is_file() {
        bail!("there is no file {}", arguments.file.display());
    }
    preflight::prepare()?;
    let root = BuildRoot::ensure(workspace)?;
    let work = workspace.lab().join(format!("cc-{}", std::process::id()));
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    let built = if arguments.module {
        kernel_module::build_single(workspace, &root, &file, &work)
    } else {
        let uapi = workspace.root.join("dom0-shim/uapi");
        std::fs::create_dir_all(&uapi).with_context(|| uapi.display().to_string())?;
        let script = format!(
            "gcc -O2 -g0 -Wall -Wextra -static -pthread -I/mnt/uapi -I/usr/include/libdrm {} -o /mnt/work/out \
             /mnt/source/{}",
            arguments.flags.iter().map(|flag| quoted(flag)).collect::<Vec<_>>().join(" "),
            quoted(&name.to_string_lossy()),
        );
        let mut command = Chroot::new(&root)
            .show(folder, "source")
            .show(&uapi, "uapi")
            .work_in(&work, "work")
            .shell(&script);
        succeed(&mut command).map(|said| {
            eprint!("{said}");
            work.join("out")
        })
    };
    let done = built.and_then(|path| {
        std::fs::copy(&path, &arguments.output)
            .with_context(|| format!("{} cannot be written", arguments.output.display()))
    });
    crate::digest::remove(&work)?;
    done?;
    Ok(())
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}
