// SPDX-License-Identifier: MIT OR Apache-2.0
//! How effects fail: what was tried, on which domain, node or file, and what to do next.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;
use xenlend_xen_abi::version::SUPPORTED;

use super::diagnosis::NotConnected;
use super::guest::Unreadable;

/// A failed effect.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum HostError {
    #[error("cannot start xl ({0})")]
    NoXl(io::Error),
    #[error("`{command}` failed ({status}){}", said(stderr))]
    Xl { command: String, status: String, stderr: String },
    #[error("{0}")]
    XlOutput(#[from] Unreadable),
    #[error("the broker's image {} cannot be read ({error})", path.display())]
    NoImage { path: PathBuf, error: io::Error },
    #[error("guest {guest}: its broker cannot be made: {cause}")]
    NoBroker { guest: String, cause: Box<HostError> },
    #[error("xenstore: cannot {operation} {path} ({error})")]
    Xenstore { operation: &'static str, path: String, error: io::Error },
    #[error("{call} for domain {borrower} failed: {} ({error})", meaning(call, error))]
    Module { call: &'static str, borrower: u16, error: io::Error },
    #[error("cannot {operation} {} ({error})", path.display())]
    File { operation: &'static str, path: PathBuf, error: io::Error },
    #[error("the record {} is of no version that this program knows ({reason})", path.display())]
    Record { path: PathBuf, reason: String },
    #[error("{0}")]
    NotConnected(#[from] NotConnected),
    #[error("broker (domain {broker}) has not left domain {borrower}, and serves others")]
    NotLeft { broker: u16, borrower: u16 },
    #[error("the supervisor of guest {guest} did not start: {reason}")]
    Supervisor { guest: String, reason: String },
}

fn said(stderr: &str) -> String {
    match stderr.trim() {
        "" => String::new(),
        text => format!(", saying: {}", text.replace('\n', "; ")),
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw_os_error)
}

/// What an errno of the module means, after the header's words.
fn meaning(call: &str, error: &io::Error) -> &'static str {
    match (call, errno(error)) {
        (_, Some(Errno::PERM)) => "not allowed",
        (_, Some(Errno::NXIO)) => "dom0 does not run on Xen, or is not privileged",
        (_, Some(Errno::PROTO)) => "this Xen's domctl interface is not one that the module knows",
        ("XENLEND_ATTACH", Some(Errno::EXIST)) => "the guest has a link already",
        ("XENLEND_ATTACH", Some(Errno::NOENT)) => "no such domain",
        ("XENLEND_ATTACH", Some(Errno::OPNOTSUPP)) => {
            "it is no PVH or HVM guest, or the lender is no PV domain"
        }
        ("XENLEND_ATTACH", Some(Errno::XDEV)) => {
            "the guest may have host devices, which could reach lent memory by DMA on this Xen"
        }
        ("XENLEND_ATTACH", Some(Errno::FBIG)) => "the aperture is larger than the module allows",
        ("XENLEND_ATTACH", Some(Errno::INVAL)) => "the module does not accept this aperture",
        ("XENLEND_ALLOW_BAR", Some(Errno::NODEV)) => "there is no such PCI device",
        ("XENLEND_ALLOW_BAR", Some(Errno::INVAL)) => "that is no memory BAR of the device",
        ("XENLEND_ALLOW_BAR", Some(Errno::NOSPC)) => "the module has no room for more BARs",
        ("XENLEND_ATTACH_FRONTEND", Some(Errno::EXIST)) => "a frontend is attached already",
        (_, Some(Errno::NOENT)) => "there is no link",
        (_, Some(Errno::NOLINK)) => "the broker is gone",
        (_, Some(Errno::TIMEDOUT)) => "the broker does not answer",
        (_, Some(Errno::BUSY)) => "it is in use",
        (_, Some(Errno::NOMEM)) => "dom0 or Xen is out of memory",
        _ => "the module refused",
    }
}

impl HostError {
    /// Whether the broker only cannot be asked now.
    pub fn is_later(&self) -> bool {
        matches!(self, Self::Module { error, .. } if errno(error) == Some(Errno::AGAIN))
    }

    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoXl(_) => "install Xen's tools (xen-utils) and see that xl is in PATH".to_owned(),
            Self::Xl { .. } => "`xl dmesg` and /var/log/xen say more; `xl list` shows the domains".to_owned(),
            Self::XlOutput(_) => "compare the versions: `xl info` and `xenlend --version`".to_owned(),
            Self::NoImage { .. } => {
                "install the broker, or name its image with --broker-image PATH".to_owned()
            }
            Self::NoBroker { cause, .. } => cause.remedy(),
            Self::Xenstore { .. } => {
                "see that xenstored runs and that this is dom0: `xenstore-ls`".to_owned()
            }
            Self::Module { call, error, .. } => module_remedy(call, error),
            Self::File { .. } => "see that the folder exists, is writable by root and not full".to_owned(),
            Self::Record { path, .. } => {
                format!(
                    "end the link with the program that made it, or remove {} after `xl destroy`",
                    path.display()
                )
            }
            Self::NotConnected(reason) => reason.remedy(),
            Self::NotLeft { broker, .. } => {
                format!("`xenlend down` for the others too, or `xl destroy {broker}`, which ends their links")
            }
            Self::Supervisor { guest, .. } => format!("read /var/log/xenlend/{guest}.log"),
        }
    }
}

fn module_remedy(call: &str, error: &io::Error) -> String {
    let text = match (call, errno(error)) {
        (_, Some(Errno::PROTO)) => {
            return format!(
                "use Xen {SUPPORTED}, or a module built for this Xen; `xl info` shows the version"
            );
        }
        (_, Some(Errno::PERM)) => "run as root (CAP_SYS_ADMIN) in dom0",
        (_, Some(Errno::NXIO)) => "run this in dom0, booted by Xen",
        ("XENLEND_ATTACH", Some(Errno::EXIST)) => {
            "`xenlend status` shows the link, `xenlend down GUEST` ends it"
        }
        ("XENLEND_ATTACH", Some(Errno::XDEV)) => {
            "remove pci= and passthrough= from the guest's xl file and start it again"
        }
        ("XENLEND_ATTACH", Some(Errno::FBIG)) => "have the guest reserve or claim a smaller one",
        ("XENLEND_ALLOW_BAR", Some(Errno::NODEV | Errno::INVAL)) => {
            "`lspci -v` shows the devices and their memory; --bar takes SSSS:BB:DD.F/N"
        }
        _ => "the kernel's log says more: `dmesg`",
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(call: &'static str, errno: Errno) -> HostError {
        HostError::Module { call, borrower: 7, error: errno.into() }
    }

    #[test]
    fn an_errno_of_the_module_is_put_into_words_with_the_domain_and_a_remedy() {
        let wrong_xen = module("XENLEND_ATTACH", Errno::PROTO);
        assert!(wrong_xen.to_string().contains("domain 7"), "{wrong_xen}");
        assert!(wrong_xen.to_string().contains("domctl"), "{wrong_xen}");
        assert!(wrong_xen.to_string().contains("os error 71"), "{wrong_xen}");
        assert!(wrong_xen.remedy().contains(SUPPORTED));
        assert!(module("XENLEND_ALLOW_BAR", Errno::NODEV).remedy().contains("lspci"));
        assert!(module("XENLEND_ATTACH", Errno::NOENT).to_string().contains("no such domain"));
        let with_device = module("XENLEND_ATTACH", Errno::XDEV);
        assert!(with_device.to_string().contains("DMA"), "{with_device}");
        assert!(with_device.remedy().contains("passthrough="));
    }

    #[test]
    fn what_xl_said_is_part_of_the_message() {
        let error = HostError::Xl {
            command: "xl create -p -q /x".to_owned(),
            status: "exit status: 1".to_owned(),
            stderr: "not enough memory\nfailed\n".to_owned(),
        };
        assert_eq!(
            error.to_string(),
            "`xl create -p -q /x` failed (exit status: 1), saying: not enough memory; failed"
        );
    }
}
