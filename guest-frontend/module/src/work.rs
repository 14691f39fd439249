// SPDX-License-Identifier: MIT OR Apache-2.0
//! The work item: handles what the broker says, in order, and takes pages out of page tables.

use xenlend_front_core::bus::CLOSING;
use xenlend_front_core::frontend::Turn;

use crate::driver::Driver;
use crate::kernel_api::{mapping, parameters, work};
use crate::log_error;

/// Messages that one run handles before it lets other work of the kernel run.
const RUN: u32 = 256;

/// One run.
pub fn run(driver: &Driver) {
    for _ in 0..RUN {
        let turn = driver.locked(|state| {
            let turn = state.core.turn();
            if let Some(link) = state.link.as_ref().filter(|_| turn != Turn::Idle) {
                link.note_message();
            }
            turn
        });
        match turn {
            Turn::Idle => return confirm_kept(driver),
            Turn::More => {}
            Turn::Zap(_, Some(sequence)) if !parameters::zaps() => driver.keep(sequence),
            Turn::Zap(pages, sequence) => {
                // Nothing of these pages can be inserted any more: the core has forgotten that they
                // are present. What is in the page tables goes now, and only then is that confirmed.
                mapping::zap(pages);
                driver.locked(|state| state.core.zapped(sequence));
            }
            Turn::Ended(reason) => {
                mapping::zap_all();
                log_error!("the broker's link is over (reason {})", reason);
                if let Some(device) = driver.locked(|state| state.device.clone()) {
                    device.switch(CLOSING);
                }
                return;
            }
        }
    }
    work::queue();
}

/// Confirms what was not zapped, by a parameter, when no program has anything mapped any more: nothing is left
/// then that could show another lease at the same place.
fn confirm_kept(driver: &Driver) {
    let sequence = driver.kept();
    if sequence > 0 && !mapping::is_anything_mapped() {
        driver.locked(|state| state.core.zapped(Some(sequence)));
    }
}
