// SPDX-License-Identifier: MIT OR Apache-2.0
//! An event channel between a program in dom0 and one in a guest, through `/dev/xen/evtchn`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use anyhow::{ensure, Context, Result};

const DEVICE: &str = "/dev/xen/evtchn";

/// `IOCTL_EVTCHN_BIND_INTERDOMAIN` of Linux's `xen/evtchn.h`: domain and its port.
const BIND_INTERDOMAIN: libc::c_ulong = 0x0008_4501;

/// `IOCTL_EVTCHN_BIND_UNBOUND_PORT`: the domain that may bind to the new port.
const BIND_UNBOUND_PORT: libc::c_ulong = 0x0004_4502;

/// `IOCTL_EVTCHN_NOTIFY`: the port.
const NOTIFY: libc::c_ulong = 0x0004_4504;

/// One end. It is closed with its descriptor.
pub struct EventChannel {
    file: File,
    port: u32,
}

impl EventChannel {
    /// The end that waits for a domain's program to bind to it.
    ///
    /// # Errors
    /// No such domain, or no device.
    pub fn offer(domain: u16) -> Result<Self> {
        Self::bind(BIND_UNBOUND_PORT, &mut [u32::from(domain)])
            .with_context(|| format!("no event channel for domain {domain}"))
    }

    /// The other end, of what a domain has offered.
    ///
    /// # Errors
    /// Nothing was offered there to this domain.
    pub fn accept(domain: u16, port: u32) -> Result<Self> {
        let accepted = Self::bind(BIND_INTERDOMAIN, &mut [u32::from(domain), port])
            .with_context(|| format!("cannot bind to port {port} of domain {domain}"))?;
        // Xen sends the end that binds one event, in case the other end had sent some before.
        accepted.wait()?;
        Ok(accepted)
    }

    fn bind(request: libc::c_ulong, words: &mut [u32]) -> Result<Self> {
        let file = File::options().read(true).write(true).open(DEVICE).context(DEVICE)?;
        // SAFETY: the device reads as many words as the request's number says, which is how many there are.
        let port = unsafe { libc::ioctl(file.as_raw_fd(), request, words.as_mut_ptr()) };
        if port < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        Ok(Self { file, port: u32::try_from(port)? })
    }

    /// This end's port.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Sends an event.
    ///
    /// # Errors
    /// The other end is gone.
    pub fn notify(&self) -> Result<()> {
        let mut words = [self.port];
        // SAFETY: the device reads one word.
        let status = unsafe { libc::ioctl(self.file.as_raw_fd(), NOTIFY, words.as_mut_ptr()) };
        if status < 0 {
            return Err(std::io::Error::last_os_error()).context("cannot send an event");
        }
        Ok(())
    }

    /// Waits for an event, and lets the next one come.
    ///
    /// # Errors
    /// The device's.
    pub fn wait(&self) -> Result<()> {
        let mut word = [0; 4];
        (&self.file).read_exact(&mut word).context("no event")?;
        ensure!(u32::from_ne_bytes(word) == self.port, "an event of another port");
        (&self.file).write_all(&word).context("cannot take more events")
    }
}
