// SPDX-License-Identifier: MIT OR Apache-2.0
//! What C calls: pointers become references, and the rest of the crate decides.

use core::ffi::{c_int, c_long, c_ulong, c_void};
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};

use xenlend_protocol::lease_id::LeaseId;

use super::pci::Device;
use super::region::Notified;
use super::shared::Shared;
use super::wait::PollTable;
use crate::crew::Post;
use crate::descriptor::Descriptor;
use crate::errno::ENOMEM;
use crate::link::Link;
use crate::links::Links;
use crate::waiter::Errand;
use crate::{bars, power, revoke};

static LINKS: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// The module's one table.
pub struct Core;

impl Core {
    /// Set before the device exists and devices are watched, freed after both have ended.
    pub fn links() -> &'static Links {
        // SAFETY: `xenlend_core_init` has set it and `xenlend_core_exit` has not run: whoever
        // asks runs for an open descriptor, which keeps the module loaded, or is told of a PCI
        // device or of a suspend, of which C hears between the two only.
        unsafe { Shared::<Links>::borrow_raw(LINKS.load(Ordering::Acquire)) }
    }
}

#[no_mangle]
extern "C" fn xenlend_core_init() -> c_int {
    let Some(links) = Links::new().and_then(Shared::new) else { return ENOMEM.to_kernel() as c_int };
    LINKS.store(links.into_raw(), Ordering::Release);
    0
}

#[no_mangle]
extern "C" fn xenlend_core_exit() {
    let links = LINKS.swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: set by `xenlend_core_init`; the device is gone and every link keeps the module
    // loaded, so nobody asks any more.
    drop(unsafe { Shared::<Links>::from_raw(links) });
}

#[no_mangle]
extern "C" fn xenlend_core_sleep() -> c_int {
    power::sleep(Core::links()).map_or_else(|error| error.to_kernel() as c_int, |()| 0)
}

#[no_mangle]
extern "C" fn xenlend_core_wake_up() {
    power::wake_up(Core::links());
}

#[no_mangle]
extern "C" fn xenlend_core_open() -> *mut c_void {
    Descriptor::new().map_or(ptr::null_mut(), Shared::into_raw)
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_release(descriptor: *mut c_void) {
    // SAFETY: C hands back, once, what `xenlend_core_open` gave.
    if let Some(descriptor) = unsafe { Shared::<Descriptor>::from_raw(descriptor) } {
        descriptor.close();
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_ioctl(descriptor: *mut c_void, request: u32, argument: c_ulong) -> c_long {
    // SAFETY: the descriptor is open.
    let descriptor = unsafe { Shared::<Descriptor>::borrow_raw(descriptor) };
    match descriptor.ioctl(request, argument) {
        Ok(()) => 0,
        Err(error) => error.to_kernel(),
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_read(
    descriptor: *mut c_void,
    buffer: c_ulong,
    size: usize,
    may_wait: bool,
) -> isize {
    // SAFETY: the descriptor is open.
    let descriptor = unsafe { Shared::<Descriptor>::borrow_raw(descriptor) };
    match descriptor.read(buffer, size, may_wait) {
        Ok(bytes) => bytes as isize,
        Err(error) => error.to_kernel() as isize,
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_poll(
    descriptor: *mut c_void,
    file: *mut c_void,
    table: *mut c_void,
) -> u32 {
    // SAFETY: the descriptor is open.
    let descriptor = unsafe { Shared::<Descriptor>::borrow_raw(descriptor) };
    descriptor.poll(&PollTable { file, table })
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_event(link: *mut c_void) -> bool {
    // SAFETY: the handler holds the link until it is unbound.
    let link = unsafe { Shared::<Link>::borrow_raw(link) };
    link.on_event()
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_invalidate(
    link: *mut c_void,
    lease: u64,
    start: c_ulong,
    end: c_ulong,
    may_sleep: bool,
    is_release: bool,
    region: *mut c_void,
    sequence: c_ulong,
) -> bool {
    // SAFETY: the region object holds the link, and the notifier's caller keeps the object.
    let link = unsafe { Shared::<Link>::borrow_raw(link) };
    // Before the region has a lease this names none that there is.
    let lease = LeaseId { index: lease as u16, generation: (lease >> 32) as u32 };
    let notified = Notified::new(region, sequence, is_release);
    revoke::on_notifier(link, lease, start, end, may_sleep, &notified)
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_work(post: *mut c_void) {
    // SAFETY: the thread was started with it, and gives it back once.
    if let Some(post) = unsafe { Shared::<Post>::from_raw(post) } {
        post.run();
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_wait(errand: *mut c_void) {
    // SAFETY: the thread was started with it, and gives it back once.
    if let Some(errand) = unsafe { Shared::<Errand>::from_raw(errand) } {
        errand.run();
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_put_link(link: *mut c_void) {
    // SAFETY: C gives back, once, a reference that it was handed.
    drop(unsafe { Shared::<Link>::from_raw(link) });
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_device_changes(device: *mut c_void) {
    let Some(device) = NonNull::new(device) else { return };
    // SAFETY: whoever tells of a device holds it.
    let device = unsafe { Device::new(device) };
    bars::on_change(&device);
}
