// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs programs inside the build root, with folders of the host mounted below its /mnt. The mounts
//! are in a namespace of their own: they end with the program, and runs do not see each other's.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build_root::BuildRoot;

/// A folder of the host, seen inside.
struct Mount {
    host: PathBuf,
    name: String,
    writable: bool,
}

/// A program to be run inside.
pub struct Chroot<'a> {
    root: &'a BuildRoot,
    mounts: Vec<Mount>,
}

impl<'a> Chroot<'a> {
    /// The build root with nothing mounted.
    pub fn new(root: &'a BuildRoot) -> Self {
        Self { root, mounts: Vec::new() }
    }

    /// Shows a folder of the host as /mnt/NAME, not to be changed.
    #[must_use]
    pub fn show(self, host: &Path, name: &str) -> Self {
        self.mount(host, name, false)
    }

    /// Shows a folder of the host as /mnt/NAME, to be worked in.
    #[must_use]
    pub fn work_in(self, host: &Path, name: &str) -> Self {
        self.mount(host, name, true)
    }

    /// The command that runs a shell script inside.
    pub fn shell(self, script: &str) -> Command {
        let mut outer = String::from(
            "set -e\nmount -t proc proc \"$ROOT/proc\"\nmount --rbind /dev \"$ROOT/dev\"\n\
             mount -t tmpfs tmp \"$ROOT/tmp\"\nmount -t tmpfs mnt \"$ROOT/mnt\"\n",
        );
        for (index, mount) in self.mounts.iter().enumerate() {
            let name = &mount.name;
            let _ = writeln!(outer, "mkdir -p \"$ROOT/mnt/{name}\"");
            let _ = writeln!(outer, "mount --bind \"$MOUNT{index}\" \"$ROOT/mnt/{name}\"");
            if !mount.writable {
                let _ = writeln!(outer, "mount -o remount,bind,ro \"$ROOT/mnt/{name}\"");
            }
        }
        outer.push_str("exec chroot \"$ROOT\" /bin/bash -euc \"$INNER\"\n");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "/bin/bash", "-c", &outer]);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", "/tmp");
        command.env("ROOT", &self.root.path).env("INNER", script);
        for (index, mount) in self.mounts.iter().enumerate() {
            command.env(format!("MOUNT{index}"), &mount.host);
        }
        command
    }

    /// Adds a mount.
    fn mount(mut self, host: &Path, name: &str, writable: bool) -> Self {
        self.mounts.push(Mount { host: host.to_owned(), name: name.to_owned(), writable });
        self
    }
}
