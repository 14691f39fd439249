// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must be so before any command can do anything, and which of it is not.

use std::path::Path;

use thiserror::Error;
use xenlend::DEVICE_PATH;
use xenlend_xen_abi::version::{domctl_version, XenVersion, SUPPORTED};

/// What is not as it must be.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Missing {
    #[error("xenlend must run as root (this is user {0})")]
    NotRoot(u32),
    #[error("this machine does not run on Xen (no /sys/hypervisor/type that says xen)")]
    NotXen,
    #[error("this is not dom0 (no control_d in /proc/xen/capabilities)")]
    NotDom0,
    #[error("this is Xen {0}; xenlend works with {SUPPORTED}")]
    WrongXen(String),
    #[error("the kernel module xenlend is not loaded: there is no {DEVICE_PATH}")]
    NoModule,
}

impl Missing {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotRoot(_) => "run it with sudo",
            Self::NotXen => "boot this machine with Xen, and run xenlend in dom0",
            Self::NotDom0 => {
                "run xenlend in dom0; if this is dom0, mount xenfs: `mount -t xenfs xenfs /proc/xen`"
            }
            Self::WrongXen(_) => "install one of those releases; `xl info` shows the version",
            Self::NoModule => {
                "`modprobe xenlend`; if there is no such module, build dom0-shim for this kernel"
            }
        }
    }
}

/// What is looked at.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Effective user.
    pub user: u32,
    /// `/sys/hypervisor/type`.
    pub hypervisor: Option<String>,
    /// `/proc/xen/capabilities`.
    pub capabilities: Option<String>,
    /// `/sys/hypervisor/version/{major,minor}`.
    pub version: Option<(String, String)>,
    /// Whether [`DEVICE_PATH`] exists.
    pub has_device: bool,
}

impl Surroundings {
    /// Looks.
    pub fn look() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        Self {
            user: rustix::process::geteuid().as_raw(),
            hypervisor: read("/sys/hypervisor/type"),
            capabilities: read("/proc/xen/capabilities"),
            version: read("/sys/hypervisor/version/major").zip(read("/sys/hypervisor/version/minor")),
            has_device: Path::new(DEVICE_PATH).exists(),
        }
    }

    /// The first thing that is not as it must be.
    pub fn check(&self) -> Result<(), Missing> {
        if self.hypervisor.as_deref() != Some("xen") {
            return Err(Missing::NotXen);
        }
        if self.user != 0 {
            return Err(Missing::NotRoot(self.user));
        }
        if !self.capabilities.as_deref().unwrap_or_default().contains("control_d") {
            return Err(Missing::NotDom0);
        }
        // An unreadable version is left to the module, which asks Xen itself.
        if let Some((major, minor)) = &self.version {
            let release = major.parse().ok().zip(minor.parse().ok());
            if release.and_then(|(major, minor)| domctl_version(XenVersion { major, minor })).is_none() {
                return Err(Missing::WrongXen(format!("{major}.{minor}")));
            }
        }
        if !self.has_device {
            return Err(Missing::NoModule);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dom0() -> Surroundings {
        Surroundings {
            user: 0,
            hypervisor: Some("xen".to_owned()),
            capabilities: Some("control_d".to_owned()),
            version: Some(("4".to_owned(), "20".to_owned())),
            has_device: true,
        }
    }

    #[test]
    fn every_supported_release_will_do() {
        for minor in ["17", "18", "19", "20", "21", "22"] {
            let changed = Surroundings { version: Some(("4".to_owned(), minor.to_owned())), ..dom0() };
            assert_eq!(changed.check(), Ok(()), "4.{minor}");
        }
    }

    #[test]
    fn each_thing_that_is_missing_is_told_apart() {
        assert_eq!(dom0().check(), Ok(()));
        let check = |change: fn(&mut Surroundings)| {
            let mut changed = dom0();
            change(&mut changed);
            changed.check().unwrap_err()
        };
        assert_eq!(check(|s| s.user = 1000), Missing::NotRoot(1000));
        assert_eq!(check(|s| s.hypervisor = None), Missing::NotXen);
        assert_eq!(check(|s| s.capabilities = None), Missing::NotDom0);
        assert_eq!(check(|s| s.capabilities = Some(String::new())), Missing::NotDom0);
        assert_eq!(check(|s| s.has_device = false), Missing::NoModule);
        for (major, minor) in [("4", "16"), ("4", "23"), ("5", "20"), ("4", "x")] {
            let changed = Surroundings { version: Some((major.to_owned(), minor.to_owned())), ..dom0() };
            assert_eq!(changed.check(), Err(Missing::WrongXen(format!("{major}.{minor}"))));
        }
    }
}
