// SPDX-License-Identifier: MIT OR Apache-2.0
//! What C calls: pointers become references, and the rest of the crate decides.

use core::ffi::{c_int, c_long, c_ulong, c_void};
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use xenlend_front_core::bus::has_let_go;

use super::bus::Device;
use super::fault::Fault;
use super::ffi::{RawFault, RawMap};
use super::shared::Shared;
use super::wait::PollTable;
use crate::descriptor::{self, Descriptor};
use crate::driver::Driver;
use crate::errno::{EINVAL, ENOMEM};
use crate::link::Link;
use crate::{bus, fault, space, work};

static DRIVER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// The module's one driver.
fn driver() -> &'static Driver {
    // SAFETY: `xenlend_core_init` has set it and `xenlend_core_exit` has not run: C calls in here
    // between the two only, and waits for every caller's end before the second.
    unsafe { Shared::<Driver>::borrow_raw(DRIVER.load(Ordering::Acquire)) }
}

#[no_mangle]
extern "C" fn xenlend_core_init() -> c_int {
    let Some(driver) = Driver::new().and_then(Shared::new) else { return ENOMEM.to_kernel() as c_int };
    DRIVER.store(driver.into_raw(), Ordering::Release);
    0
}

#[no_mangle]
extern "C" fn xenlend_core_exit() {
    // A run that found nothing to do may still be queued. It must not find the driver gone.
    super::work::cancel();
    let driver = DRIVER.swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: set by `xenlend_core_init`; device, descriptors and work item are gone.
    drop(unsafe { Shared::<Driver>::from_raw(driver) });
}

#[no_mangle]
extern "C" fn xenlend_core_loaded() {
    *driver().space.lock() = space::reserve();
}

#[no_mangle]
extern "C" fn xenlend_core_unloading() {
    space::give_back(driver());
}

#[no_mangle]
extern "C" fn xenlend_core_open() -> *mut c_void {
    Descriptor::new(driver()).map_or(ptr::null_mut(), Shared::into_raw)
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_release(descriptor: *mut c_void) {
    // SAFETY: C hands back, once, what `xenlend_core_open` gave.
    if let Some(descriptor) = unsafe { Shared::<Descriptor>::from_raw(descriptor) } {
        descriptor.close(driver());
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_ioctl(descriptor: *mut c_void, request: u32, argument: c_ulong) -> c_long {
    // SAFETY: the descriptor is open.
    let descriptor = unsafe { Shared::<Descriptor>::borrow_raw(descriptor) };
    match descriptor.ioctl(driver(), request, argument) {
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
    match descriptor.read(driver(), buffer, size, may_wait) {
        Ok(bytes) => bytes as isize,
        Err(error) => error.to_kernel() as isize,
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_poll(
    descriptor: *mut c_void,
    file: *mut c_void,
    table: *mut c_void,
) -> bool {
    // SAFETY: the descriptor is open.
    let descriptor = unsafe { Shared::<Descriptor>::borrow_raw(descriptor) };
    descriptor.poll(driver(), &PollTable { file, table })
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_map(map: *mut RawMap) -> c_int {
    // SAFETY: C passes a structure of its own stack.
    let map = unsafe { &mut *map };
    if map.is_shared == 0 {
        return EINVAL.to_kernel() as c_int;
    }
    match descriptor::map(driver(), (map.first, map.pages), map.writes != 0, map.executes != 0) {
        Ok(made) => {
            map.first = made.first.into();
            map.name = made.name.to_number();
            map.kind = made.name.kind as u32;
            map.may_write = u32::from(made.may_write);
            0
        }
        Err(error) => error.to_kernel() as c_int,
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_fault(raw: *const RawFault, huge: bool) -> u32 {
    // SAFETY: C passes a structure of its own stack.
    let raw = unsafe { &*raw };
    // SAFETY: C asks once about a fault, with its locks held, and leaves them to the answer.
    let fault = unsafe { Fault::new(raw) };
    fault::handle(driver(), fault, huge).into_kernel()
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_event(link: *mut c_void) -> bool {
    // SAFETY: the handler holds the link until it is unbound.
    unsafe { Shared::<Link>::borrow_raw(link) }.on_event()
}

#[no_mangle]
extern "C" fn xenlend_core_work() {
    work::run(driver());
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_probe(device: *mut c_void) -> c_int {
    // SAFETY: the bus keeps the device bound during this call.
    let probed = unsafe { Device::with(device, |device| bus::probe(driver(), device)) };
    match probed {
        Some(Ok(())) => 0,
        Some(Err(error)) => error.to_kernel() as c_int,
        None => EINVAL.to_kernel() as c_int,
    }
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_backend_changed(device: *mut c_void, state: u32) {
    // SAFETY: as above.
    unsafe { Device::with(device, |device| bus::backend_changed(driver(), device, state)) };
}

#[no_mangle]
extern "C" fn xenlend_core_has_let_go(state: u32) -> bool {
    has_let_go(state)
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_remove(device: *mut c_void) {
    // SAFETY: as above: it is unbound when this has returned.
    unsafe { Device::with(device, |device| bus::remove(driver(), device)) };
}

#[no_mangle]
unsafe extern "C" fn xenlend_core_suspend(device: *mut c_void) {
    // SAFETY: the bus keeps the device bound during this call.
    unsafe { Device::with(device, |device| bus::suspend(driver(), device)) };
}

#[no_mangle]
extern "C" fn xenlend_core_nodes_changed() {
    space::offer_again(driver());
    bus::nodes_changed(driver());
}
