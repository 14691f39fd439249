// SPDX-License-Identifier: MIT OR Apache-2.0
//! The console: lines into a ring that dom0's console daemon empties. Never waits: a line that finds no
//! room is dropped and counted, and the next one that does says how many.

use core::fmt::{self, Write};
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU8, AtomicUsize, Ordering};

use heapless::String;
use xenlend_xen_abi::console::{free_output, ConsoleRing, OUT_BYTES};
use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::hvm::{PARAM_CONSOLE_EVTCHN, PARAM_CONSOLE_PFN};
use xenlend_xen_abi::PAGE_SIZE;

use super::{event_channel, hvm_param, sched, shared_info, time};
use crate::memory::page_table::{Access, PageTables};
use crate::start_error::StartError;

/// Longest line in bytes.
const LINE_BYTES: usize = 512;

static RING: AtomicUsize = AtomicUsize::new(0);
static PORT: AtomicU32 = AtomicU32::new(0);
static DROPPED: AtomicU32 = AtomicU32::new(0);

/// Finds the ring.
///
/// # Errors
/// If the toolstack has made none.
pub fn init(tables: &mut PageTables) -> Result<(), StartError> {
    let frame = hvm_param::get(PARAM_CONSOLE_PFN, "console ring")?;
    let port = hvm_param::get(PARAM_CONSOLE_EVTCHN, "console port")?;
    let address = frame * PAGE_SIZE;
    tables.map(address, address + PAGE_SIZE, Access::Data)?;
    PORT.store(port as u32, Ordering::Relaxed);
    RING.store(address as usize, Ordering::Relaxed);
    Ok(())
}

struct Ring {
    base: usize,
}

impl Ring {
    fn get() -> Option<Self> {
        match RING.load(Ordering::Relaxed) {
            0 => None,
            base => Some(Self { base }),
        }
    }

    fn index(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: the ring's page is mapped for good and the offset one of its aligned fields. The daemon
        // writes it at any time, which an atomic allows.
        unsafe { AtomicU32::from_ptr((self.base + offset) as *mut u32) }
    }

    fn consumed(&self) -> u32 {
        self.index(offset_of!(ConsoleRing, out_cons)).load(Ordering::Acquire)
    }

    fn produced(&self) -> u32 {
        self.index(offset_of!(ConsoleRing, out_prod)).load(Ordering::Relaxed)
    }

    /// Puts as many of the bytes as there is room for.
    fn put(&self, bytes: &[u8]) {
        let mut produced = self.produced();
        let room = free_output(self.consumed(), produced) as usize;
        for &byte in bytes.iter().take(room) {
            let offset = offset_of!(ConsoleRing, output) + (produced % OUT_BYTES) as usize;
            // SAFETY: as for `index`, with a byte of the output area.
            let slot = unsafe { AtomicU8::from_ptr((self.base + offset) as *mut u8) };
            slot.store(byte, Ordering::Relaxed);
            produced = produced.wrapping_add(1);
        }
        self.index(offset_of!(ConsoleRing, out_prod)).store(produced, Ordering::Release);
        event_channel::notify(port());
    }
}

fn port() -> Port {
    PORT.load(Ordering::Relaxed)
}

/// Writes what fits, for last words.
pub fn write_raw(bytes: &[u8]) {
    if let Some(ring) = Ring::get() {
        ring.put(bytes);
    }
}

/// Writes a line, or drops and counts it.
pub fn write_line(words: fmt::Arguments<'_>) {
    let mut line = String::<LINE_BYTES>::new();
    let dropped = DROPPED.load(Ordering::Relaxed);
    // A line that is too long ends early.
    let _ = if dropped == 0 {
        write!(line, "xenlend-broker: {words}")
    } else {
        write!(line, "xenlend-broker: ({dropped} lines dropped) {words}")
    };
    if line.push('\n').is_err() {
        line.pop();
        let _ = line.push('\n');
    }
    match Ring::get() {
        Some(ring) if free_output(ring.consumed(), ring.produced()) as usize >= line.len() => {
            ring.put(line.as_bytes());
            DROPPED.store(0, Ordering::Relaxed);
        }
        _ => {
            DROPPED.store(dropped.saturating_add(1), Ordering::Relaxed);
        }
    }
}

/// Waits until the daemon has read everything, at most so long: at the end of the domain only.
pub fn drain(limit_ns: u64) {
    let (Some(ring), Some(start)) = (Ring::get(), time::now_ns()) else { return };
    let deadline = start.saturating_add(limit_ns);
    while ring.consumed() != ring.produced() && time::now_ns().is_some_and(|now| now < deadline) {
        shared_info::take_pending(port());
        if ring.consumed() != ring.produced() {
            sched::poll(&mut [port()], deadline);
        }
    }
}

/// Writes a line to the console.
#[macro_export]
macro_rules! log {
    ($($words:tt)*) => { $crate::xen::console::write_line(format_args!($($words)*)) };
}
