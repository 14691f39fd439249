// SPDX-License-Identifier: MIT OR Apache-2.0
//! The work item: handles what the broker says, in order, and takes pages out of page tables.

use xenlend_front_core::bus::CLOSING;
use xenlend_front_core::frontend::Turn;

use crate::driver::Driver;
use crate::kernel_api::{mapping, work};
use crate::log_error;

/// Messages that one run handles before it lets other work of the kernel run.
const RUN: u32 = 256;

/// One run.
pub fn run(driver: &Driver) {
    for _ in 0..RUN {
        match driver.locked(|state| state.core.turn()) {
            Turn::Idle => return,
            Turn::More => {}
            Turn::Zap(pages, sequence) => {
                // Nothing of these pages can be inserted any more: the core has forgotten that they
                // are present. What is in the page tables goes now, and only then is that confirmed.
                mapping::zap(pages);
                driver.locked(|state| state.core.zapped(sequence));
            }
            Turn::Ended(reason) => {
                mapping::zap_all();
                log_error!("the broker's link is over (reason {})", reason);
                // Whoever takes the device away waits for this run first.
                if let Some(device) = driver.locked(|state| state.device) {
                    device.switch(CLOSING);
                }
                return;
            }
        }
    }
    work::queue();
}
