// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds kernel modules for the lab's kernel, inside the build root: C glue, and for the product's
//! own modules a Rust static library that is linked into them.

use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::build_root::BuildRoot;
use crate::chroot::Chroot;
use crate::command::succeed;
use crate::digest::{make, Inputs};
use crate::parts::{Part, Parts};
use crate::progress::step;
use crate::rust_object::{self, RustCrate};
use crate::workspace::Workspace;

/// A module to be built.
pub struct ModuleSpec {
    /// Its name, without .ko.
    pub name: String,
    /// The folder with its Kbuild; everything in it but the Rust crates is taken.
    pub folder: PathBuf,
    /// Files of other folders that join its glue.
    pub shared: Vec<PathBuf>,
    /// The static library that is linked into it as `rust.o`.
    pub rust: Option<RustCrate>,
}

/// Folders beside a Kbuild that are no part of the C sources.
const NOT_GLUE: &[&str] = &["target", "module", "core", "cli", "client", "touch"];
/// The lender's glue that the borrower's module has too.
const COMMON_GLUE: &[&str] =
    &["common.h", "event_channel.c", "grant.c", "lock.c", "log.c", "memory.c", "user.c", "wait.c"];

/// Builds every module of the project that is there, and gives each with its name.
///
/// # Errors
/// The compilers'.
pub fn build_all(workspace: &Workspace, root: &BuildRoot, parts: &Parts) -> Result<Vec<(String, PathBuf)>> {
    let mut modules = Vec::new();
    if parts.has(Part::Module) {
        modules.push(ModuleSpec {
            name: "xenlend".to_owned(),
            folder: workspace.root.join("dom0-shim"),
            shared: Vec::new(),
            rust: Some(RustCrate {
                folder: "dom0-shim/module".to_owned(),
                library: "libxenlend_shim_module.a".to_owned(),
                sources: ["dom0-shim/module", "dom0-shim/core", "protocol", "stubdom/abi"]
                    .map(str::to_owned)
                    .to_vec(),
                exports: "xenlend_".to_owned(),
            }),
        });
    }
    if parts.has(Part::Frontend) {
        let glue = workspace.root.join("dom0-shim/glue");
        let sources = ["guest-frontend/module", "guest-frontend/core", "dom0-shim/module/src", "protocol"];
        modules.push(ModuleSpec {
            name: "xenlend-front".to_owned(),
            folder: workspace.root.join("guest-frontend"),
            shared: COMMON_GLUE.iter().map(|name| glue.join(name)).collect(),
            rust: Some(RustCrate {
                folder: "guest-frontend/module".to_owned(),
                library: "libxenlend_front_module.a".to_owned(),
                sources: sources.map(str::to_owned).to_vec(),
                exports: "xenlend_".to_owned(),
            }),
        });
    }
    if parts.has(Part::TestModules) {
        let folder = workspace.root.join("boot/scenarios/modules");
        let mut folders: Vec<PathBuf> =
            std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        folders.sort();
        for folder in folders.into_iter().filter(|folder| folder.join("Kbuild").exists()) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            modules.push(ModuleSpec { name, folder, shared: Vec::new(), rust: None });
        }
    }
    let mut built = Vec::new();
    for module in modules {
        let path = build(workspace, root, &module)?;
        built.push((module.name, path));
    }
    Ok(built)
}

/// Builds a module and gives its path.
///
/// # Errors
/// The compilers'.
pub fn build(workspace: &Workspace, root: &BuildRoot, module: &ModuleSpec) -> Result<PathBuf> {
    let object = match &module.rust {
        Some(library) => Some(rust_object::build(workspace, root, library)?),
        None => None,
    };
    let uapi = workspace.root.join("dom0-shim/uapi");
    let mut inputs = Inputs::of("module").text(&module.name).text(&root.versions_key).text(&root.kernel);
    let sources = glue_of(&module.folder)?;
    for source in sources.iter().chain(&module.shared).chain(object.as_ref()) {
        inputs = inputs.path(source)?;
    }
    if uapi.exists() {
        inputs = inputs.path(&uapi)?;
    }
    let output = workspace.lab().join("modules").join(format!("{}.ko", module.name));
    let key = inputs.text(include_str!("kernel_module.rs")).key();
    make(&output, &key, |path| {
        let work = workspace.lab().join("modules").join(format!("{}.build", module.name));
        crate::digest::remove(&work)?;
        let kbuild = work.join("kbuild");
        for source in &sources {
            copy(source, &kbuild.join(source.file_name().unwrap_or_default()))?;
        }
        for source in &module.shared {
            copy(source, &kbuild.join("glue").join(source.file_name().unwrap_or_default()))?;
        }
        if let Some(object) = &object {
            copy(object, &kbuild.join("rust.o_shipped"))?;
            // Kbuild wants to know how every object was made; this one was not made by it.
            std::fs::write(kbuild.join(".rust.o.cmd"), "").context("the object's command file")?;
        }
        compile(workspace, root, &module.name, &work)?;
        copy(&kbuild.join(format!("{}.ko", module.name)), path)
    })?;
    Ok(output)
}

/// Builds a module of one C file in a folder of its own.
///
/// # Errors
/// The compiler's.
pub fn build_single(workspace: &Workspace, root: &BuildRoot, file: &Path, work: &Path) -> Result<PathBuf> {
    let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let kbuild = work.join("kbuild");
    copy(file, &kbuild.join(format!("{name}.c")))?;
    std::fs::write(kbuild.join("Kbuild"), format!("obj-m := {name}.o\n")).context("Kbuild")?;
    compile(workspace, root, &name, work)?;
    Ok(kbuild.join(format!("{name}.ko")))
}

/// Runs Kbuild on the folder `kbuild` below the work folder.
fn compile(workspace: &Workspace, root: &BuildRoot, name: &str, work: &Path) -> Result<()> {
    let uapi = workspace.root.join("dom0-shim/uapi");
    let mut chroot = Chroot::new(root).work_in(work, "work");
    if uapi.exists() {
        chroot = chroot.show(&uapi, "uapi");
    }
    let script = format!(
        "make -s -C /lib/modules/{}/build M=/mnt/work/kbuild KCFLAGS='-I/mnt/uapi' W= modules 2>&1",
        root.kernel
    );
    let said = step(&format!("Building the kernel module {name}"), || succeed(&mut chroot.shell(&script)))?;
    // A warning of the compiler or of objtool is an error, as in the rest of the project.
    let warnings: Vec<&str> =
        said.lines().filter(|line| line.contains("warning:") || line.starts_with("WARNING")).collect();
    if !warnings.is_empty() {
        bail!("the kernel module {name} builds with warnings:\n{said}");
    }
    Ok(())
}

/// What Kbuild is given of a module's folder.
fn glue_of(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        if !NOT_GLUE.contains(&entry.file_name().to_string_lossy().as_ref()) {
            sources.push(entry.path());
        }
    }
    sources.sort();
    Ok(sources)
}

/// Copies a file or a folder.
pub fn copy(source: &Path, to: &Path) -> Result<()> {
    let why = || format!("{} cannot be copied to {}", source.display(), to.display());
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(why)?;
    }
    if source.is_dir() {
        std::fs::create_dir_all(to).with_context(why)?;
        for entry in std::fs::read_dir(source).with_context(why)? {
            let entry = entry.with_context(why)?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    std::fs::copy(source, to).with_context(why)?;
    Ok(())
}
