// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address space for an aperture that nobody has reserved on the guest's command line.

use xenlend_front_core::aperture::{Aperture, Place};

use crate::driver::Driver;
use crate::kernel_api::aperture::{address_bits, Reservation};
use crate::kernel_api::{bus, parameters};
use crate::{log_information, log_warning};

/// Reserves it and says where. A guest whose command line reserves an aperture does not need it.
pub fn reserve() -> Option<Reservation> {
    let place = Place::of(parameters::aperture_bytes(), address_bits())?;
    let (reservation, address) = Reservation::new(place.bytes, place.lowest, place.highest)
        .inspect_err(|error| log_warning!("no address space for an aperture: error {}", error.0))
        .ok()?;
    let aperture = Aperture::check(address / 4096, place.bytes / 4096, address_bits())?;
    match bus::offer(aperture.gfn(), aperture.page_count().into()) {
        Ok(()) => log_information!("address space for an aperture at {:#x}", address),
        Err(error) => log_warning!("dom0 cannot be told of the address space: error {}", error.0),
    }
    Some(reservation)
}

/// Gives it back; no link has an aperture any more.
pub fn give_back(driver: &Driver) {
    if let Some(reservation) = driver.space.lock().take() {
        bus::withdraw();
        drop(reservation);
    }
}
