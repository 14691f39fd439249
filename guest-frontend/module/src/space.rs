// SPDX-License-Identifier: MIT OR Apache-2.0
//! Address space for an aperture that nobody has reserved on the guest's command line.

use xenlend_front_core::aperture::{Aperture, Place};

use crate::driver::Driver;
use crate::kernel_api::aperture::{address_bits, Reservation};
use crate::kernel_api::{bus, parameters};
use crate::{log_information, log_warning};

/// Address space that is kept, and what dom0 is told of it.
pub struct Space {
    reservation: Reservation,
    aperture: Aperture,
}

impl Space {
    fn offer(&self) {
        match bus::offer(self.aperture.gfn(), self.aperture.page_count().into()) {
            Ok(()) => log_information!("address space for an aperture at {:#x}", self.aperture.address()),
            Err(error) => log_warning!("dom0 cannot be told of the address space: error {}", error.0),
        }
    }
}

/// Reserves it and says where. A guest whose command line reserves an aperture does not need it.
pub fn reserve() -> Option<Space> {
    let place = Place::of(parameters::aperture_bytes(), address_bits())?;
    let (reservation, address) = Reservation::new(place.bytes, place.lowest, place.highest)
        .inspect_err(|error| log_warning!("no address space for an aperture: error {}", error.0))
        .ok()?;
    let aperture = Aperture::check(address / 4096, place.bytes / 4096, address_bits())?;
    let space = Space { reservation, aperture };
    space.offer();
    Some(space)
}

/// Says it once more if nobody knows it: this guest has been restored, and is another domain.
pub fn offer_again(driver: &Driver) {
    if let Some(space) = driver.space.lock().as_ref().filter(|_| !bus::is_offered()) {
        space.offer();
    }
}

/// Gives it back; no link has an aperture any more.
pub fn give_back(driver: &Driver) {
    if let Some(space) = driver.space.lock().take() {
        bus::withdraw();
        drop(space.reservation);
    }
}
