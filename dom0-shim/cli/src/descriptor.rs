// SPDX-License-Identifier: MIT OR Apache-2.0
//! A descriptor bound to one borrower: regions, events and counters.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::event::Event;
use crate::ioctl;
use crate::label::Label;
use crate::layout::{Counters, RawEvent, RawRegion2, RawResolve, Status, RESOLVE_LOSS, RESOLVE_RETRY};

/// Events taken by one `read`.
const EVENTS_PER_READ: usize = 32;

/// One window of this process's memory in the borrower's aperture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Number of the slot, below [`crate::layout::MAX_REGIONS`].
    pub slot: u32,
    /// `REGION_*` of [`crate::layout`].
    pub flags: u32,
    /// Where it appears: guest-physical address in bytes, page aligned, in the aperture.
    pub guest_phys_addr: u64,
    /// Bytes, page aligned, not 0.
    pub memory_size: u64,
    /// Address in this process, page aligned. What is mapped there later shows at once.
    pub userspace_addr: u64,
    /// What the borrower's programs see it called.
    pub label: Label,
}

/// What is to become of those who wait for pages of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolve {
    /// They look again, and an earlier loss is taken back.
    Retry,
    /// They end by the region's loss policy; so does whoever comes later, until something changes
    /// there.
    Loss,
}

/// The bound descriptor. It may be handed to a process without privileges.
#[derive(Debug)]
pub struct BorrowerFd {
    file: File,
    borrower: u16,
}

impl BorrowerFd {
    pub(crate) fn new(file: File, borrower: u16) -> Self {
        Self { file, borrower }
    }

    /// Takes over a bound descriptor that another process handed to this one.
    pub fn from_owned_fd(fd: OwnedFd, borrower: u16) -> Self {
        Self::new(File::from(fd), borrower)
    }

    /// Domain id of the borrower.
    pub fn borrower(&self) -> u16 {
        self.borrower
    }

    /// Makes a region. To change one, delete it first.
    ///
    /// # Errors
    /// As the header says for `XENLEND_SET_USER_MEMORY_REGION2`.
    ///
    /// # Safety
    /// From now until the region is deleted the borrower reads and writes the memory in the
    /// window, at any time: no Rust reference to it may exist meanwhile, only raw pointers and
    /// volatile or atomic accesses.
    pub unsafe fn set_region(&self, region: &Region) -> io::Result<()> {
        let request = RawRegion2 {
            slot: region.slot,
            flags: region.flags,
            guest_phys_addr: region.guest_phys_addr,
            memory_size: region.memory_size,
            userspace_addr: region.userspace_addr,
            label: region.label.raw(),
        };
        // SAFETY: the caller's promise, passed on.
        unsafe { ioctl::set_region(&self.file, request) }
    }

    /// Deletes the region in the slot: everything of it is revoked when this returns.
    ///
    /// # Errors
    /// `EINVAL` when there is none.
    pub fn delete_region(&self, slot: u32) -> io::Result<()> {
        ioctl::delete_region(&self.file, slot)
    }

    /// Says what is to become of those who wait for pages of a region: for a permission, or an
    /// answer to a fault.
    ///
    /// # Errors
    /// `ENOENT` no such region of this descriptor; `EINVAL` pages outside it; `ENOSPC` more than
    /// four separate ranges of it are given up.
    pub fn resolve(
        &self,
        slot: u32,
        guest_phys_addr: u64,
        memory_size: u64,
        answer: Resolve,
    ) -> io::Result<()> {
        let answer = match answer {
            Resolve::Retry => RESOLVE_RETRY,
            Resolve::Loss => RESOLVE_LOSS,
        };
        ioctl::resolve(&self.file, RawResolve { slot, answer, guest_phys_addr, memory_size })
    }

    /// The events that have come since the last call; does not wait.
    ///
    /// # Errors
    /// Those of poll(2) and read(2).
    pub fn events(&self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        while self.wait(Some(0))? {
            let mut bytes = [0; EVENTS_PER_READ * size_of::<RawEvent>()];
            let length = match (&self.file).read(&mut bytes) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            if length == 0 {
                break;
            }
            events.extend(Event::parse_all(&bytes[..length]));
        }
        Ok(events)
    }

    /// Whether the link is over: no events come but those that have not been read yet.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn is_over(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
        Ok(fds[0].revents().contains(PollFlags::HUP))
    }

    /// Waits until there is an event or the link is over, or so many milliseconds; says whether either is so.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(&self, timeout_ms: Option<u32>) -> io::Result<bool> {
        let timeout = timeout_ms
            .map(|ms| Timespec { tv_sec: i64::from(ms / 1000), tv_nsec: i64::from(ms % 1000) * 1_000_000 });
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        poll(&mut fds, timeout.as_ref())?;
        Ok(fds[0].revents().contains(PollFlags::IN))
    }

    /// State and counters of the link.
    ///
    /// # Errors
    /// `ENOENT` when the link has been detached.
    pub fn status(&self) -> io::Result<Status> {
        let mut status = Status { borrower: self.borrower, ..Status::default() };
        ioctl::status(&self.file, &mut status)?;
        Ok(status)
    }

    /// The counters of the link.
    ///
    /// # Errors
    /// `ENOENT` when the link has been detached.
    pub fn counters(&self) -> io::Result<Counters> {
        Ok(self.status()?.counters)
    }
}

impl AsFd for BorrowerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
