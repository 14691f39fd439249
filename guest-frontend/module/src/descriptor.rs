// SPDX-License-Identifier: MIT OR Apache-2.0
//! An open descriptor of `/dev/xenlend`.
//!
//! Memory of the process is only touched without the driver's mutex: it may itself be a lease.

use core::ffi::c_ulong;

use xenlend_front_core::events::Cursor;
use xenlend_front_core::frontend::{MapRefusal, Mapped, PrefaultRefusal, Receipt};
use xenlend_front_core::lease::{Lease, MAX_LEASES};
use xenlend_front_core::uapi;
use xenlend_front_core::uapi::map::{BadMap, MapName, MapRequest};
use xenlend_front_core::uapi::request::{Call, Request, Unknown, WORD_BYTES};

use crate::driver::{Core, Driver};
use crate::errno::{
    Errno, E2BIG, EACCES, EAGAIN, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTTY, ENXIO, EOPNOTSUPP,
};
use crate::kernel_api::lock::Mutex;
use crate::kernel_api::memory::KernelSlice;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::{Mode, PollTable, Woken};
use crate::kernel_api::{parameters, user};

/// A mapping that a program gets.
pub struct Map {
    /// Its first page.
    pub first: u32,
    /// What it is of, and its type.
    pub name: MapName,
    /// Whether it may become writable later.
    pub may_write: bool,
}

/// A descriptor.
pub struct Descriptor {
    number: u64,
    cursor: Mutex<Cursor>,
}

impl Descriptor {
    /// A new one, which reads events from now on; `None` if memory is short.
    pub fn new(driver: &Driver) -> Option<Shared<Self>> {
        let cursor = driver.locked(|state| state.core.cursor());
        Shared::new(Self { number: driver.number_descriptor(), cursor: Mutex::new(cursor)? })
    }

    /// Closed.
    pub fn close(&self, driver: &Driver) {
        driver.locked(|state| state.core.release(self.number));
    }

    /// `ioctl()`
    pub fn ioctl(&self, driver: &Driver, request: u32, argument: c_ulong) -> Result<(), Errno> {
        let Request { call, bytes } = Request::find(request).map_err(|unknown| match unknown {
            Unknown::Call => ENOTTY,
            Unknown::Size => EINVAL,
        })?;
        match call {
            Call::Info => {
                let link =
                    driver.locked(|state| state.core.link().map(|link| (link.phase(), link.aperture())));
                write_structure(argument, bytes, &uapi::encode_info(link))
            }
            Call::GetLeases => list_leases(driver, argument, bytes),
            Call::Prefault => {
                let wanted = uapi::decode_prefault(&read_structure(argument, bytes)?).ok_or(EINVAL)?;
                let begin = if parameters::prefaults() { Core::prefault } else { Core::decline };
                let begun =
                    driver.locked(|state| begin(&mut state.core, self.number, wanted.cookie, wanted.pages));
                begun.map_err(|refusal| match refusal {
                    PrefaultRefusal::NoLease => ENXIO,
                    PrefaultRefusal::Full => EAGAIN,
                })
            }
            Call::Counters => {
                let counters = driver.locked(|state| *state.core.counters());
                write_structure(argument, bytes, &uapi::encode_counters(&counters))
            }
        }
    }

    /// `read()`: whole events.
    pub fn read(
        &self,
        driver: &Driver,
        buffer: c_ulong,
        size: usize,
        may_wait: bool,
    ) -> Result<usize, Errno> {
        let room = size / uapi::EVENT_BYTES;
        if room == 0 {
            return Err(EINVAL);
        }
        loop {
            let seen = driver.seen();
            let mut written = 0;
            while written < room {
                let before = *self.cursor.lock();
                let next = driver.locked(|state| state.core.next_event(self.number, before));
                let Some((event, receipt)) = next else { break };
                let at = buffer + (written * uapi::EVENT_BYTES) as c_ulong;
                match user::write(at, &uapi::encode_event(&event)) {
                    Err(error) if written == 0 => return Err(error),
                    Err(_) => break,
                    Ok(()) => {}
                }
                // One that another reader was given first is his; the next takes its place in the buffer.
                written += usize::from(self.acknowledge(driver, before, receipt));
            }
            if written > 0 {
                return Ok(written * uapi::EVENT_BYTES);
            }
            if !may_wait {
                return Err(EAGAIN);
            }
            if driver.wait(seen, Mode::Interruptible) == Woken::Signal {
                return Err(EINTR);
            }
        }
    }

    /// `poll()`: whether there is an event.
    pub fn poll(&self, driver: &Driver, table: &PollTable) -> bool {
        driver.wait_queue().poll(table);
        let cursor = *self.cursor.lock();
        driver.locked(|state| state.core.next_event(self.number, cursor)).is_some()
    }

    /// False if another reader of this descriptor has taken the event that stood at `before`.
    fn acknowledge(&self, driver: &Driver, before: Cursor, receipt: Receipt) -> bool {
        if let Receipt::Place(behind) = receipt {
            let mut cursor = self.cursor.lock();
            let is_first = *cursor == before;
            if is_first {
                *cursor = behind;
            }
            return is_first;
        }
        driver.locked(|state| state.core.acknowledge(receipt))
    }
}

/// `mmap()`, of an offset and a length in pages.
pub fn map(driver: &Driver, (offset, count): (u64, u64), writes: bool, executes: bool) -> Result<Map, Errno> {
    let request = MapRequest::find(offset, count).map_err(|bad| match bad {
        BadMap::Flags => EINVAL,
        BadMap::Pages => ENXIO,
    })?;
    let mapped = driver.locked(|state| state.core.map(request, writes, executes));
    let Mapped { name, may_write } = mapped.map_err(|refusal| match refusal {
        MapRefusal::NoLease => ENXIO,
        MapRefusal::Access => EACCES,
        MapRefusal::Type => EOPNOTSUPP,
    })?;
    Ok(Map { first: request.pages.first, name, may_write })
}

fn list_leases(driver: &Driver, argument: c_ulong, bytes: usize) -> Result<(), Errno> {
    let mut request = read_structure(argument, bytes)?;
    let room = uapi::decode_leases(&request).ok_or(EINVAL)?;
    let mut leases: KernelSlice<Option<Lease>> = KernelSlice::new(MAX_LEASES, || None).ok_or(ENOMEM)?;
    let count = driver.locked(|state| {
        let link = state.core.link()?;
        let living = leases.iter_mut().zip(link.leases());
        Some(living.map(|(place, lease)| *place = Some(*lease)).count())
    });
    let count = count.ok_or(ENOTCONN)?;
    for (index, lease) in leases.iter().flatten().take(room.capacity as usize).enumerate() {
        write_structure(room.at(index) as c_ulong, room.stride, &uapi::encode_lease(lease))?;
    }
    uapi::encode_lease_count(&mut request, count as u32);
    write_structure(argument, bytes, &request)
}

/// Reads a structure of which the caller has so many bytes: what is beyond them counts as zeros, and what is
/// beyond this driver's has to be zeros.
fn read_structure<const N: usize>(from: c_ulong, bytes: usize) -> Result<[u8; N], Errno> {
    let mut structure = [0; N];
    let mut known = structure.chunks_exact_mut(WORD_BYTES);
    for at in (0..bytes).step_by(WORD_BYTES) {
        let word: [u8; WORD_BYTES] = user::read(from.wrapping_add(at as c_ulong))?;
        match known.next() {
            Some(place) => place.copy_from_slice(&word),
            None if word == [0; WORD_BYTES] => {}
            None => return Err(E2BIG),
        }
    }
    Ok(structure)
}

/// Writes a structure of which the caller has so many bytes: what this driver does not know becomes zeros.
fn write_structure(to: c_ulong, bytes: usize, structure: &[u8]) -> Result<(), Errno> {
    let mut known = structure.chunks_exact(WORD_BYTES);
    for at in (0..bytes).step_by(WORD_BYTES) {
        user::write(to.wrapping_add(at as c_ulong), known.next().unwrap_or(&[0; WORD_BYTES]))?;
    }
    Ok(())
}
