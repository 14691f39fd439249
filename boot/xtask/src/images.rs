// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that a run boots: the base images with the project's own parts on top.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::build_root::BuildRoot;
use crate::cpio::Cpio;
use crate::lock::Lock;
use crate::parts::{Part, Parts};
use crate::programs::Program;
use crate::workspace::Workspace;
use crate::{initramfs, kernel_image, kernel_module, programs, unikernel};

/// Where the broker's image is in dom0.
const BROKER: &str = "/usr/libexec/xen/boot/xenlend-stubdom";

/// What a run boots.
pub struct Images {
    /// dom0's kernel.
    pub kernel: PathBuf,
    /// Parts of dom0's initramfs, to be joined.
    pub dom0: Vec<Vec<u8>>,
    /// Parts of the guests' initramfs, to be joined.
    pub guest: Vec<Vec<u8>>,
}

/// Builds whatever is not up to date.
///
/// # Errors
/// Any build's.
pub fn build(workspace: &Workspace, root: &BuildRoot, parts: &Parts) -> Result<Images> {
    let _lock = Lock::hold(&workspace.lab())?;
    let programs = programs::build(workspace, parts)?;
    let mut dom0 = Cpio::default();
    let mut guest = Cpio::default();
    let lab = workspace.root.join("boot/lab/image");
    add_script(&mut dom0, &lab.join("dom0-init"), "/init")?;
    add_script(&mut dom0, &lab.join("vif-lab"), "/etc/xen/scripts/vif-lab")?;
    add_script(&mut guest, &lab.join("guest-init"), "/init")?;
    for Program { name, path, in_dom0, in_guest } in &programs {
        let to = format!("/usr/bin/{name}");
        if *in_dom0 {
            dom0.host_path(path, &to)?;
        }
        if *in_guest {
            guest.host_path(path, &to)?;
        }
    }
    for alias in ["guest-exec", "lab-screenshot"] {
        dom0.symlink(&format!("/usr/bin/{alias}"), "lab-agent");
    }
    for (name, path) in kernel_module::build_all(workspace, root, parts)? {
        let to = format!("/usr/lib/modules/{}/extra/{name}.ko", root.kernel);
        dom0.host_path(&path, &to)?;
        guest.host_path(&path, &to)?;
    }
    if parts.has(Part::Broker) {
        for image in unikernel::build_all(workspace)? {
            dom0.host_path(&image.path, &format!("{BROKER}{}", image.suffix))?;
        }
    }
    Ok(Images {
        kernel: kernel_image::linux(workspace, root)?,
        dom0: vec![read(&initramfs::dom0_base(workspace, root)?)?, dom0.finish()],
        guest: vec![read(&initramfs::guest_base(workspace, root)?)?, guest.finish()],
    })
}

/// Adds a script of the checkout.
fn add_script(image: &mut Cpio, source: &Path, to: &str) -> Result<()> {
    image.file(to, 0o755, &read(source)?);
    Ok(())
}

/// A file's bytes.
fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}
