// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lab-agent wait-for PATH`: waits until a device has appeared, woken by the kernel's uevents.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{bail, Context, Result};
use rustix::net::{netlink, AddressFamily, RecvFlags, SocketFlags, SocketType};

/// Does the job.
///
/// # Errors
/// Bad arguments, or no uevents from this kernel.
pub fn run(arguments: &[OsString]) -> Result<u8> {
    let [path] = arguments else { bail!("one path is wanted") };
    appear(Path::new(path))?;
    Ok(0)
}

/// Waits until the path exists.
fn appear(path: &Path) -> Result<()> {
    // The socket comes before the first look: an event in between is then kept for us.
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(netlink::KOBJECT_UEVENT),
    )
    .context("no uevent socket")?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, 1)).context("no uevents")?;
    let mut event = [0_u8; 8192];
    while !path.exists() {
        match rustix::net::recv(&socket, &mut event, RecvFlags::empty()) {
            // Events were lost, so look again at once.
            Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("uevents ended"),
        }
    }
    Ok(())
}
