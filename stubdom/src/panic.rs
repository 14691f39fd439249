// SPDX-License-Identifier: MIT OR Apache-2.0
//! The end: last words on the console ring and in Xen's own log, then a crash that the toolstack shows.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use xenlend_xen_abi::hvm::DEBUG_CONSOLE_PORT;

use crate::xen::{console, sched};
use crate::{log, trace};

/// How long the last words may take to be read, in nanoseconds.
const LAST_WORDS_NS: u64 = 500_000_000;

static ENDING: AtomicBool = AtomicBool::new(false);

/// Both places where last words go.
struct LastWords;

impl Write for LastWords {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: a byte to Xen's debug port has no effect but a line in Xen's log.
            unsafe {
                core::arch::asm!(
                    "out dx, al", in("dx") DEBUG_CONSOLE_PORT, in("al") byte,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
        console::write_raw(text.as_bytes());
        Ok(())
    }
}

/// Says why, and ends the domain.
pub fn end(words: fmt::Arguments<'_>) -> ! {
    if !ENDING.swap(true, Ordering::Relaxed) {
        // Writing to a ring and a port cannot fail.
        let _ = writeln!(LastWords, "xenlend-broker: {words}");
        console::drain(LAST_WORDS_NS);
    }
    crash()
}

/// Says that the work is done, and ends the domain.
pub fn power_off(words: fmt::Arguments<'_>) -> ! {
    log!("{words}");
    console::drain(LAST_WORDS_NS);
    sched::power_off()
}

/// Ends the domain as crashed, without a word.
pub fn crash() -> ! {
    sched::shutdown_crash()
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    end(format_args!("{info}; trace:{}", trace::Newest))
}
