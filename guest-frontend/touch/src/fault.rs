// SPDX-License-Identifier: MIT OR Apache-2.0
//! An access that has to fail right there, at once or some time: by a signal that names the address.

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{bail, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::PAGE_BYTES;

use crate::pin::pin_to_vcpu;

#[derive(Args)]
pub struct Fault {
    /// The word, a multiple of 8
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Write it instead of reading it
    #[arg(long)]
    write: bool,
    /// Make the access anew after so many faults before the one that is reported
    #[arg(long, default_value_t = 0)]
    again: usize,
    /// Say so on a line, and write it again and again on this vCPU until that fails
    #[arg(long, value_name = "VCPU", conflicts_with = "write")]
    until: Option<usize>,
}

/// Where the access goes.
static EXPECTED: AtomicUsize = AtomicUsize::new(0);
/// Faults to come back from.
static AGAIN: AtomicUsize = AtomicUsize::new(0);

fn say(word: &[u8]) {
    // SAFETY: may be called in a signal handler; the bytes are valid for their length.
    unsafe { libc::write(1, word.as_ptr().cast(), word.len()) };
}

extern "C" fn on_fault(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    let one_less = |again: usize| again.checked_sub(1);
    if AGAIN.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
        return;
    }
    // SAFETY: the kernel gives this handler a siginfo of a fault.
    let address = unsafe { (*info).si_addr() } as usize;
    say(if signal == libc::SIGBUS { b"SIGBUS\n" } else { b"SIGSEGV\n" });
    let is_there = address == EXPECTED.load(Ordering::SeqCst);
    if !is_there {
        say(b"at another address\n");
    }
    // SAFETY: may be called in a signal handler.
    unsafe { libc::_exit(i32::from(!is_there)) };
}

impl Fault {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let at = (self.offset % PAGE_BYTES as u64) as usize;
        let memory = aperture.map(self.offset - at as u64, PAGE_BYTES as u64)?;
        EXPECTED.store(memory.pointer(at, 8) as usize, Ordering::SeqCst);
        AGAIN.store(self.again, Ordering::SeqCst);
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            // SAFETY: all zeros is a valid value of this structure.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            let handler = on_fault as extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO;
            // SAFETY: the handler makes only calls that a handler may make.
            unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
        }
        if let Some(vcpu) = self.until {
            pin_to_vcpu(vcpu)?;
            say(b"writing\n");
            for value in 0.. {
                memory.write_u64(at, value);
            }
        }
        if self.write {
            memory.write_u64(at, u64::MAX);
        } else {
            memory.read_u64(at);
        }
        bail!("the access went through")
    }
}
