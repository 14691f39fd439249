// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds a no_std Rust static library inside the build root, with its compiler, as one object for a
//! kernel module. Debian's kernel is built without Rust support: the library calls C glue only.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::build_root::BuildRoot;
use crate::chroot::Chroot;
use crate::command::succeed;
use crate::digest::{make, Inputs};
use crate::kernel_module::copy;
use crate::progress::step;
use crate::workspace::Workspace;

/// A crate of type staticlib, in a workspace of its own with its lock file.
pub struct RustCrate {
    /// Its folder, from the checkout.
    pub folder: String,
    /// The file that cargo makes of it.
    pub library: String,
    /// The folders, from the checkout, of all its sources, its path dependencies' among them.
    pub sources: Vec<String>,
    /// What the names of its functions for C begin with; everything that they do not need is left out.
    pub exports: String,
}

/// The bare target, whose defaults the flags bend to the kernel's ways.
const TARGET: &str = "x86_64-unknown-none";

/// How the kernel compiles its own code: its code model, no position independence (and no GOT, which
/// the module loader does not know), its mitigations.
const FLAGS: &str =
    "-Ccode-model=kernel -Crelocation-model=static -Zplt=yes -Zdirect-access-external-data=yes \
     -Zfunction-return=thunk-extern -Zcf-protection=branch -Zno-jump-tables -Cforce-frame-pointers=y \
     -Ctarget-feature=+retpoline-external-thunk,+retpoline-indirect-branches,+retpoline-indirect-calls";

/// The crate that every crate without std is linked to; the kernel has what it would provide.
const COMPILER_BUILTINS: &str = "#![feature(compiler_builtins)]\n#![allow(internal_features)]\n\
     #![compiler_builtins]\n#![no_builtins]\n#![no_std]\n";

/// Builds it and gives the object's path.
///
/// # Errors
/// The compiler's; a library without exported functions.
pub fn build(workspace: &Workspace, root: &BuildRoot, library: &RustCrate) -> Result<PathBuf> {
    let sysroot = sysroot(workspace, root)?;
    let vendor = vendor(workspace, library)?;
    let work = workspace.lab().join("rust").join(library.folder.replace('/', "-"));
    let output = work.join("rust.o");
    let mut inputs = Inputs::of("rust object").text(&root.versions_key).text(include_str!("rust_object.rs"));
    inputs = inputs.path(&workspace.root.join("Cargo.toml"))?;
    for source in &library.sources {
        inputs = inputs.path(&workspace.root.join(source))?;
    }
    std::fs::create_dir_all(&work).with_context(|| work.display().to_string())?;
    make(&output, &inputs.key(), |path| {
        let script = format!(
            "cd /mnt/repo/{folder}\n\
             export CARGO_HOME=/mnt/work/home CARGO_TARGET_DIR=/mnt/work/target RUSTC_BOOTSTRAP=1\n\
             export RUSTFLAGS='--sysroot=/mnt/sysroot {FLAGS}'\n\
             cargo build --quiet --release --locked --offline --target {TARGET} \
               --config 'source.crates-io.replace-with=\"vendored\"' \
               --config 'source.vendored.directory=\"/mnt/vendor\"' 2>&1\n\
             library=/mnt/work/target/{TARGET}/release/{file}\n\
             keep=$(nm --defined-only --extern-only \"$library\" 2>/dev/null | \
               awk '$2 == \"T\" && index($3, \"{exports}\") == 1 {{ printf \"-u %s \", $3 }}')\n\
             [ -n \"$keep\" ] || {{ echo 'no function is exported as {exports}…'; exit 1; }}\n\
             ld -r -o /mnt/work/linked.o --whole-archive --gc-sections $keep \"$library\"\n",
            folder = library.folder,
            file = library.library,
            exports = library.exports,
        );
        let mut command = Chroot::new(root)
            .show(&workspace.root, "repo")
            .show(&sysroot, "sysroot")
            .show(&vendor, "vendor")
            .work_in(&work, "work")
            .shell(&script);
        step(&format!("Building {} for the kernel", library.folder), || succeed(&mut command))?;
        copy(&work.join("linked.o"), path)
    })?;
    Ok(output)
}

/// The crates from the registry, fetched by the host's cargo: the build root has no network.
fn vendor(workspace: &Workspace, library: &RustCrate) -> Result<PathBuf> {
    let folder = workspace.root.join(&library.folder);
    let lock = folder.join("Cargo.lock");
    if !lock.exists() {
        bail!("{} is missing: the module's dependencies must be pinned", lock.display());
    }
    let output = workspace.lab().join("rust").join(format!("{}.vendor", library.folder.replace('/', "-")));
    let key = Inputs::of("vendor").path(&lock)?.key();
    make(&output, &key, |path| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&folder).args(["vendor", "--quiet", "--locked", "--versioned-dirs"]).arg(path);
        step("Fetching the kernel module's crates", || succeed(&mut command))?;
        // A module without any dependency gets no folder.
        std::fs::create_dir_all(path).with_context(|| path.display().to_string())
    })?;
    Ok(output)
}

/// A sysroot with core alone, built for the kernel from the build root's own rust-src. Cargo's way to
/// do that (build-std) wants the sources of all of std's dependencies, which Debian does not ship.
fn sysroot(workspace: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let output = workspace.lab().join("rust").join("sysroot");
    let key = Inputs::of("sysroot").text(&root.versions_key).text(include_str!("rust_object.rs")).key();
    make(&output, &key, |path| {
        let libraries = libraries(path);
        std::fs::create_dir_all(&libraries).with_context(|| libraries.display().to_string())?;
        std::fs::write(path.join("compiler_builtins.rs"), COMPILER_BUILTINS).context("compiler_builtins")?;
        let script = format!(
            "export RUSTC_BOOTSTRAP=1\n\
             out=/mnt/sysroot/lib/rustlib/{TARGET}/lib\n\
             flags='--target={TARGET} --sysroot=/mnt/sysroot --crate-type=rlib --cap-lints=allow -Copt-level=3 \
               -Cpanic=abort -Cembed-bitcode=no -Cdebuginfo=0 {FLAGS}'\n\
             rustc $flags --edition=2021 --crate-name=core -Zforce-unstable-if-unmarked \
               --out-dir=$out /usr/lib/rustlib/src/rust/library/core/src/lib.rs\n\
             rustc $flags --edition=2021 --crate-name=compiler_builtins -Zforce-unstable-if-unmarked \
               --out-dir=$out /mnt/sysroot/compiler_builtins.rs\n"
        );
        let mut command = Chroot::new(root).work_in(path, "sysroot").shell(&script);
        step("Building Rust's core for the kernel", || succeed(&mut command))?;
        Ok(())
    })?;
    Ok(output)
}

/// Where rustc looks for a target's libraries.
fn libraries(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib").join(TARGET).join("lib")
}
