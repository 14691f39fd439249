// SPDX-License-Identifier: MIT OR Apache-2.0
//! Makes the initramfs of dom0 and of the guests: a base out of the build root, kept until that
//! changes, and the project's own files on top of it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build_root::BuildRoot;
use crate::command::succeed;
use crate::cpio::Cpio;
use crate::digest::{make, Inputs};
use crate::kernel_image;
use crate::workspace::Workspace;

/// Xen's tools and daemons in dom0, all below this folder of the build root.
const XEN_TOOLS_FOLDER: &str = "/usr/lib/xen-4.20/bin";
const XEN_TOOLS: &[&str] = &[
    "xl",
    "xenstored",
    "xenconsoled",
    "xenconsole",
    "xen-init-dom0",
    "libxl-save-helper",
    "xenstore-control",
    "xenctx",
    "xen-diag",
    "xen-hptool",
    "xenperf",
    "xentrace",
    "xenpm",
    "lsevtchn",
    "flask-set-bool",
];

/// More programs and libraries of dom0. xl aborts at a thread's exit without libgcc_s.
const DOM0_FILES: &[&str] = &[
    "/usr/bin/xenstore-chmod",
    "/usr/bin/xenstore-exists",
    "/usr/bin/xenstore-list",
    "/usr/bin/xenstore-ls",
    "/usr/bin/xenstore-read",
    "/usr/bin/xenstore-rm",
    "/usr/bin/xenstore-watch",
    "/usr/bin/xenstore-write",
    "/lib/x86_64-linux-gnu/libgcc_s.so.1",
];

/// Kernel modules of dom0; what they need comes with them.
const DOM0_MODULES: &[&str] = &[
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-privcmd",
    "xenfs",
    "xen-netback",
    "bochs",
    "vgem",
    "virtio-gpu",
    "zram",
];

/// Kernel modules of a guest.
const GUEST_MODULES: &[&str] =
    &["xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs", "xen-netfront"];

/// Debian's merged /usr, which every image has too.
const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

/// The part of dom0's image that depends on the build root alone, with the kernel that the guests
/// boot.
///
/// # Errors
/// Something is missing in the build root.
pub fn dom0_base(workspace: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let kernel = kernel_image::linux(workspace, root)?;
    let key = [XEN_TOOLS, DOM0_FILES, DOM0_MODULES].concat();
    let key = key.iter().fold(base_key("dom0", root), |inputs, word| inputs.text(word)).key();
    let output = workspace.lab().join("dom0-base.cpio");
    make(&output, &key, |path| {
        let mut image = common_base(root)?;
        let tools: Vec<String> = XEN_TOOLS.iter().map(|tool| format!("{XEN_TOOLS_FOLDER}/{tool}")).collect();
        let wanted: Vec<&str> = tools.iter().map(String::as_str).chain(DOM0_FILES.iter().copied()).collect();
        for file in with_libraries(root, &wanted)? {
            image.host_path(&root.join(&file), &merged(&file))?;
        }
        image.symlink("/usr/lib/xen", "xen-4.20");
        for folder in
            ["/var/lib/xen", "/var/log/xen/console", "/run/xen", "/run/xenstored", "/root", "/etc/xen"]
        {
            image.folder(folder);
        }
        // xl wants its file to exist; all its defaults are right.
        image.file("/etc/xen/xl.conf", 0o644, b"");
        image.host_path(&kernel, "/usr/lib/lab/vmlinux")?;
        add_modules(&mut image, root, DOM0_MODULES)?;
        std::fs::write(path, image.finish()).context("dom0's base image")
    })?;
    Ok(output)
}

/// The part of the guests' image that depends on the build root alone.
///
/// # Errors
/// Something is missing in the build root.
pub fn guest_base(workspace: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let key = GUEST_MODULES.iter().fold(base_key("guest", root), |inputs, word| inputs.text(word)).key();
    let output = workspace.lab().join("guest-base.cpio");
    make(&output, &key, |path| {
        let mut image = common_base(root)?;
        image.folder("/root");
        add_modules(&mut image, root, GUEST_MODULES)?;
        std::fs::write(path, image.finish()).context("the guests' base image")
    })?;
    Ok(output)
}

/// What both bases depend on: the build root, and how this file and its helpers make them.
fn base_key(name: &str, root: &BuildRoot) -> Inputs {
    let makers = [include_str!("initramfs.rs"), include_str!("cpio.rs"), include_str!("kernel_image.rs")];
    let start = Inputs::of(name).text(&root.versions_key).text(&root.kernel);
    makers.iter().fold(start, |inputs, maker| inputs.text(maker))
}

/// What every image has.
fn common_base(root: &BuildRoot) -> Result<Cpio> {
    let mut image = Cpio::default();
    for folder in MERGED {
        image.symlink(folder, &format!("usr/{folder}"));
        image.folder(&format!("/usr/{folder}"));
    }
    for folder in ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/log", "/etc"] {
        image.folder(folder);
    }
    image.symlink("/var/run", "/run");
    image.host_path(&root.join("/usr/bin/busybox"), "/usr/bin/busybox")?;
    Ok(image)
}

/// A path as it is in an image with merged /usr.
fn merged(path: &str) -> String {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    if MERGED.contains(&first) {
        format!("/usr{path}")
    } else {
        path.to_owned()
    }
}

/// Programs of the build root and all libraries that they load.
fn with_libraries(root: &BuildRoot, programs: &[&str]) -> Result<BTreeSet<String>> {
    let said = succeed(Command::new("chroot").arg(&root.path).arg("ldd").args(programs))?;
    let mut files: BTreeSet<String> = programs.iter().map(|&program| program.to_owned()).collect();
    for line in said.lines().filter(|line| !line.ends_with(':')) {
        files.extend(line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned));
    }
    Ok(files)
}

/// Adds modules and those that they need, with the index that modprobe reads.
fn add_modules(image: &mut Cpio, root: &BuildRoot, names: &[&str]) -> Result<()> {
    let folder = format!("/usr/lib/modules/{}", root.kernel);
    let index = root.join(&format!("{folder}/modules.dep"));
    let index = std::fs::read_to_string(&index).with_context(|| index.display().to_string())?;
    let mut lines = String::new();
    let mut added = BTreeSet::new();
    for name in names {
        let needed =
            index.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| is_module(path, name));
        let Some((path, needs)) = needed else {
            // Built into the kernel, as some are in some kernels: then modprobe has nothing to do.
            let builtin = root.join(&format!("{folder}/modules.builtin"));
            let builtin = std::fs::read_to_string(&builtin).with_context(|| builtin.display().to_string())?;
            if builtin.lines().any(|path| is_module(path, name)) {
                continue;
            }
            anyhow::bail!("the kernel {} has no module {name}", root.kernel);
        };
        for path in std::iter::once(path).chain(needs.split_whitespace()) {
            if added.insert(path.to_owned()) {
                let data = kernel_image::module(&root.join(&format!("{folder}/{path}")))?;
                image.file(&format!("{folder}/{}", unpacked(path)), 0o644, &data);
                let needs =
                    index.lines().filter_map(|line| line.split_once(':')).find(|(other, _)| *other == path);
                let needs: Vec<&str> =
                    needs.map_or(Vec::new(), |(_, needs)| needs.split(' ').map(unpacked).collect());
                let _ = writeln!(lines, "{}:{}", unpacked(path), needs.join(" "));
            }
        }
    }
    image.file(&format!("{folder}/modules.dep"), 0o644, lines.as_bytes());
    for index in ["modules.builtin", "modules.order"] {
        image.host_path(&root.join(&format!("{folder}/{index}")), &format!("{folder}/{index}"))?;
    }
    image.symlink("/usr/lib/modules/extra", &format!("{}/extra", root.kernel));
    image.folder(&format!("{folder}/extra"));
    Ok(())
}

/// A module's path without the ending of its packing.
fn unpacked(path: &str) -> &str {
    path.trim_end_matches(".xz").trim_end_matches(".zst")
}

/// Whether a path is the module of that name; - and _ are the same in them.
fn is_module(path: &str, name: &str) -> bool {
    let file = Path::new(unpacked(path)).file_stem().map(|stem| stem.to_string_lossy().replace('-', "_"));
    file.is_some_and(|file| file == name.replace('-', "_"))
}
