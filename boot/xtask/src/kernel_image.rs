// SPDX-License-Identifier: MIT OR Apache-2.0
//! Xen and the kernel, unpacked: whatever the host unpacks, the emulator need not.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

use crate::build_root::BuildRoot;
use crate::digest::{make, Inputs};
use crate::workspace::Workspace;

/// Xen as a multiboot ELF that QEMU loads.
///
/// # Errors
/// It cannot be unpacked.
pub fn xen(workspace: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let output = workspace.lab().join("xen");
    make(&output, &root.versions_key, |path| {
        let packed = std::fs::read(root.xen()).context("Xen's image")?;
        std::fs::write(path, unpack(&["gzip", "-dc"], packed)?).context("unpacked Xen")
    })?;
    Ok(output)
}

/// The kernel as an ELF, which both Xen and libxl load.
///
/// # Errors
/// It cannot be unpacked.
pub fn linux(workspace: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let output = workspace.lab().join("vmlinux");
    let key = Inputs::of("vmlinux").text(&root.versions_key).text(&root.kernel).key();
    make(&output, &key, |path| {
        let source = root.join(&format!("boot/vmlinuz-{}", root.kernel));
        let image = std::fs::read(&source).with_context(|| source.display().to_string())?;
        std::fs::write(path, payload(&image)?).context("the unpacked kernel")
    })?;
    Ok(output)
}

/// A kernel module, unpacked.
///
/// # Errors
/// It cannot be read or unpacked.
pub fn module(path: &Path) -> Result<Vec<u8>> {
    let data = std::fs::read(path).with_context(|| path.display().to_string())?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => unpack(&["xz", "-dc"], data),
        Some("zst") => unpack(&["zstd", "-dcq"], data),
        _ => Ok(data),
    }
}

/// The ELF inside a bzImage: the boot protocol's header says where the packed kernel is, and its
/// first bytes how it is packed. The last four bytes are its unpacked length, no part of the stream.
fn payload(image: &[u8]) -> Result<Vec<u8>> {
    let word = |at: usize| -> Option<usize> {
        let bytes = image.get(at..at.checked_add(4)?)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let found = (|| {
        let sectors = usize::from(*image.get(0x1f1)?);
        let start = (sectors + 1) * 512 + word(0x248)?;
        let end = start.checked_add(word(0x24c)?)?.checked_sub(4)?;
        image.get(start..end)
    })();
    let Some(packed) = found else { bail!("the kernel's image has no boot header") };
    let packer: &[&str] = match packed {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => &["zstd", "-dcq"],
        [0xfd, b'7', b'z', b'X', b'Z', ..] => &["xz", "-dcq"],
        [0x1f, 0x8b, ..] => &["gzip", "-dc"],
        _ => bail!("the kernel is packed in an unknown way"),
    };
    unpack(packer, packed.to_owned())
}

/// Sends data through an unpacking program.
fn unpack(program: &[&str], data: Vec<u8>) -> Result<Vec<u8>> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} does not start", program[0]))?;
    let Some(mut input) = child.stdin.take() else { bail!("{} has no input", program[0]) };
    let writer = std::thread::spawn(move || input.write_all(&data));
    let output = child.wait_with_output()?;
    // A program that failed has said why by its status; one that succeeded has read everything.
    let _ = writer.join();
    if !output.status.success() {
        bail!("{} cannot unpack it ({})", program[0], output.status);
    }
    Ok(output.stdout)
}
