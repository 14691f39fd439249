// SPDX-License-Identifier: MIT OR GPL-2.0 WITH Linux-syscall-note
//! An open `/dev/xenlend`.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Mutex;

use rustix::event::{poll, PollFd, PollFlags};

use crate::event::{Event, PrefaultStatus};
use crate::ioctl;
use crate::label::Label;
use crate::layout::{self, Counters, RawEvent, RawLease, RawPrefault};
use crate::mapping::Mapping;

/// The device that the driver makes.
pub const DEVICE_PATH: &str = "/dev/xenlend";

/// Events taken by one `read`.
const EVENTS_PER_READ: usize = 32;
/// Leases that one call asks for; more are asked for again.
const LEASES_AT_ONCE: usize = 64;

/// How far the driver's link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No broker.
    None,
    /// The broker has not answered yet.
    Connecting,
    /// Leases come and go.
    Connected,
    /// Closing down; another broker may come.
    Closed,
    /// Of a kind that this crate does not know: a newer driver.
    Unknown(u32),
}

/// The link and the aperture.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// How far the link is.
    pub state: State,
    /// First byte of the aperture in the guest's physical address space.
    pub aperture_address: u64,
    /// Its size; 0 without a link.
    pub aperture_bytes: u64,
    /// The version of the driver's interface.
    pub api_version: u32,
    /// Whether [`Device::map_as`] can be used.
    pub has_map_types: bool,
}

/// How a lease is to be mapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapType {
    /// As the lease is: write-back, or write-combining.
    #[default]
    AsItIs,
    /// Only if stores become visible to others in program order, as on a write-back lease.
    Coherent,
    /// Uncached, of a write-combining lease: each access by itself and in program order.
    Uncached,
}

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The lender's region slot.
    pub index: u32,
    /// Tells apart the leases that an index has had on one link.
    pub generation: u32,
    /// Tells apart all leases while the driver is loaded.
    pub serial: u64,
    /// First byte in the aperture.
    pub offset: u64,
    /// Size.
    pub bytes: u64,
    /// Whether it may be written.
    pub is_writable: bool,
    /// Whether a lost page raises SIGBUS; else it reads as zeros.
    pub loss_faults: bool,
    /// Whether it is mapped write-back; else write-combining.
    pub is_write_back: bool,
    /// What the lender calls it.
    pub label: Label,
}

impl From<RawLease> for Lease {
    fn from(raw: RawLease) -> Self {
        let has = |flag| raw.flags & flag != 0;
        Self {
            index: raw.index,
            generation: raw.generation,
            serial: raw.serial,
            offset: raw.offset,
            bytes: raw.bytes,
            is_writable: has(layout::LEASE_WRITABLE),
            loss_faults: has(layout::LEASE_LOSS_FAULT),
            is_write_back: has(layout::LEASE_WRITE_BACK),
            label: Label::from_raw(raw.label),
        }
    }
}

/// The open device. Events and completions are this descriptor's own.
#[derive(Debug)]
pub struct Device {
    file: File,
    /// Events that came while somebody waited for another.
    kept: Mutex<VecDeque<Event>>,
}

impl Device {
    /// Opens [`DEVICE_PATH`].
    ///
    /// # Errors
    /// `NotFound` when the driver is not loaded, `PermissionDenied`.
    pub fn open() -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE_PATH)?;
        Ok(Self { file, kept: Mutex::default() })
    }

    /// The link and the aperture.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn info(&self) -> io::Result<Info> {
        let raw = ioctl::info(&self.file)?;
        let state = match raw.state {
            0 => State::None,
            1 => State::Connecting,
            2 => State::Connected,
            3 => State::Closed,
            other => State::Unknown(other),
        };
        Ok(Info {
            state,
            aperture_address: raw.aperture_address,
            aperture_bytes: raw.aperture_bytes,
            api_version: raw.api_version,
            has_map_types: raw.capabilities & layout::CAP_MAP_TYPES != 0,
        })
    }

    /// The leases that live.
    ///
    /// # Errors
    /// `ENOTCONN`: no broker.
    pub fn leases(&self) -> io::Result<Vec<Lease>> {
        let mut room = vec![RawLease::default(); LEASES_AT_ONCE];
        loop {
            let count = ioctl::leases(&self.file, &mut room)?;
            if count <= room.len() {
                return Ok(room.into_iter().take(count).map(Lease::from).collect());
            }
            room.resize(count, RawLease::default());
        }
    }

    /// The counters of the driver.
    ///
    /// # Errors
    /// Those of ioctl(2).
    pub fn counters(&self) -> io::Result<Counters> {
        ioctl::counters(&self.file)
    }

    /// Maps a part of a lease: whole pages.
    ///
    /// # Errors
    /// As the header says for mmap().
    pub fn map(&self, offset: u64, bytes: usize, writable: bool) -> io::Result<Mapping> {
        self.map_as(offset, bytes, writable, MapType::AsItIs)
    }

    /// As [`Self::map`], of a type.
    ///
    /// # Errors
    /// As the header says for mmap(): `Unsupported` if the lease cannot be mapped so.
    pub fn map_as(&self, offset: u64, bytes: usize, writable: bool, kind: MapType) -> io::Result<Mapping> {
        let flag = match kind {
            MapType::AsItIs => 0,
            MapType::Coherent => layout::MAP_COHERENT,
            MapType::Uncached => layout::MAP_UNCACHED,
        };
        Mapping::new(self.file.as_fd(), offset | flag, bytes, writable)
    }

    /// Has pages brought in; [`Event::Prefaulted`] with the cookie follows. Present then means that they were there
    /// after this call, whatever had been taken away before it.
    ///
    /// # Errors
    /// As the header says for `XENLEND_GUEST_PREFAULT`.
    pub fn prefault(&self, offset: u64, bytes: u64, cookie: u64) -> io::Result<()> {
        ioctl::prefault(&self.file, RawPrefault { offset, bytes, cookie })
    }

    /// Has pages brought in and waits for it. Other events are kept for [`Self::events`].
    ///
    /// # Errors
    /// Those of [`Self::prefault`] and of poll(2).
    pub fn prefault_and_wait(&self, offset: u64, bytes: u64, cookie: u64) -> io::Result<PrefaultStatus> {
        self.prefault(offset, bytes, cookie)?;
        loop {
            self.wait()?;
            let mut found = None;
            for event in self.take_events()? {
                match event {
                    Event::Prefaulted { cookie: theirs, status, .. } if theirs == cookie => {
                        found = Some(status);
                    }
                    other => self.keep(other),
                }
            }
            if let Some(status) = found {
                return Ok(status);
            }
        }
    }

    /// The events that have come since the last call; does not wait.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn events(&self) -> io::Result<Vec<Event>> {
        let fresh = self.take_events()?;
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(kept.drain(..).chain(fresh).collect())
    }

    /// Waits until the driver has an event.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(&self) -> io::Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn keep(&self, event: Event) {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push_back(event);
    }

    fn take_events(&self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            let mut bytes = [0; EVENTS_PER_READ * size_of::<RawEvent>()];
            match (&self.file).read(&mut bytes) {
                Ok(0) => return Ok(events),
                Ok(length) => events.extend(Event::parse_all(&bytes[..length])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(events),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
