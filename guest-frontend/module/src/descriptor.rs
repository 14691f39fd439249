// SPDX-License-Identifier: MIT OR Apache-2.0
//! An open descriptor of `/dev/xenlend`.
//!
//! Memory of the process is only touched without the driver's mutex: it may itself be a lease.

use core::ffi::c_ulong;

use xenlend_front_core::events::Cursor;
use xenlend_front_core::frontend::{MapRefusal, Mapped, PrefaultRefusal, Receipt};
use xenlend_front_core::lease::{Lease, MAX_LEASES};
use xenlend_front_core::page_set::Pages;
use xenlend_front_core::uapi;

use crate::driver::{Core, Driver};
use crate::errno::{Errno, EACCES, EAGAIN, EINTR, EINVAL, ENOMEM, ENOTCONN, ENOTTY, ENXIO, EOPNOTSUPP};
use crate::kernel_api::lock::Mutex;
use crate::kernel_api::memory::KernelSlice;
use crate::kernel_api::shared::Shared;
use crate::kernel_api::wait::{Mode, PollTable, Woken};
use crate::kernel_api::{parameters, user};

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
        match request {
            uapi::INFO => {
                let link =
                    driver.locked(|state| state.core.link().map(|link| (link.phase(), link.aperture())));
                user::write(argument, &uapi::encode_info(link))
            }
            uapi::GET_LEASES => list_leases(driver, argument),
            uapi::PREFAULT => {
                let wanted = uapi::decode_prefault(&user::read(argument)?).ok_or(EINVAL)?;
                let begin = if parameters::prefaults() { Core::prefault } else { Core::decline };
                let begun =
                    driver.locked(|state| begin(&mut state.core, self.number, wanted.cookie, wanted.pages));
                begun.map_err(|refusal| match refusal {
                    PrefaultRefusal::NoLease => ENXIO,
                    PrefaultRefusal::Full => EAGAIN,
                })
            }
            uapi::COUNTERS => {
                let counters = driver.locked(|state| *state.core.counters());
                user::write(argument, &uapi::encode_counters(&counters))
            }
            _ => Err(ENOTTY),
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

/// `mmap()`
pub fn map(driver: &Driver, pages: Option<Pages>, writes: bool, executes: bool) -> Result<Mapped, Errno> {
    let pages = pages.ok_or(ENXIO)?;
    driver.locked(|state| state.core.map(pages, writes, executes)).map_err(|refusal| match refusal {
        MapRefusal::NoLease => ENXIO,
        MapRefusal::Access => EACCES,
        MapRefusal::CacheMode => EOPNOTSUPP,
    })
}

fn list_leases(driver: &Driver, argument: c_ulong) -> Result<(), Errno> {
    let mut request = user::read(argument)?;
    let (buffer, capacity) = uapi::decode_leases(&request);
    let mut leases: KernelSlice<Option<Lease>> = KernelSlice::new(MAX_LEASES, || None).ok_or(ENOMEM)?;
    let count = driver.locked(|state| {
        let link = state.core.link()?;
        let living = leases.iter_mut().zip(link.leases());
        Some(living.map(|(place, lease)| *place = Some(*lease)).count())
    });
    let count = count.ok_or(ENOTCONN)?;
    for (index, lease) in leases.iter().flatten().take(capacity as usize).enumerate() {
        let at = buffer.wrapping_add((index * uapi::LEASE_BYTES) as u64);
        user::write(at as c_ulong, &uapi::encode_lease(lease))?;
    }
    uapi::encode_lease_count(&mut request, count as u32);
    user::write(argument, &request)
}
