// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file of zeros (FUSE) that takes everything at once but what is written to it: a write is
//! answered when a line comes on standard input, and until then whoever writes to the same page
//! again stands still.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};

use crate::mapping::check;

/// Requests and answers of `linux/fuse.h`, protocol 7.31.
mod wire {
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const FORGET: u32 = 2;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const BATCH_FORGET: u32 = 42;

    /// `struct fuse_in_header`
    pub const HEADER_BYTES: usize = 40;
    /// `fuse_init_out` of that protocol is 64 bytes.
    pub const INIT_BYTES: usize = 64;
    pub const MAJOR: u32 = 7;
    pub const MINOR: u32 = 31;
}

/// Room for a write of 128 KiB and its header.
const REQUEST_BYTES: usize = (128 << 10) + 4096;
const MAX_WRITE: u32 = 128 << 10;
/// A regular file that its owner may read and write.
const MODE: u32 = 0o100_600;

/// A request's number, and the bytes that it has written.
type Held = Arc<Mutex<Vec<(u64, u32)>>>;

/// What is behind the mount.
struct Server {
    device: File,
    bytes: u64,
    pages: HashMap<u64, Vec<u8>>,
    held: Held,
}

/// Mounts it over a file, and serves it until it is unmounted.
pub fn serve(path: &str, bytes: u64) -> Result<()> {
    let device = File::options().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
    let options = format!("fd={},rootmode={MODE:o},user_id=0,group_id=0", device.as_raw_fd());
    let (path, options) = (CString::new(path)?, CString::new(options)?);
    // SAFETY: five strings that end with a zero.
    let mounted =
        unsafe { libc::mount(c"held".as_ptr(), path.as_ptr(), c"fuse".as_ptr(), 0, options.as_ptr().cast()) };
    check(mounted, "mount")?;
    let held = Held::default();
    let answering = device.try_clone()?;
    let waiting = Arc::clone(&held);
    thread::spawn(move || {
        for _line in io::stdin().lock().lines() {
            for (unique, written) in
                waiting.lock().map(|mut held| std::mem::take(&mut *held)).unwrap_or_default()
            {
                // The mount may be gone.
                let _ = answer(&answering, unique, 0, &[written.to_le_bytes(), [0; 4]].concat());
                println!("answered");
            }
        }
    });
    println!("mounted");
    Server { device, bytes, pages: HashMap::new(), held }.run()
}

fn answer(mut device: &File, unique: u64, error: i32, body: &[u8]) -> io::Result<()> {
    let bytes = (16 + body.len()) as u32;
    let header = [&bytes.to_le_bytes()[..], &error.to_le_bytes()[..], &unique.to_le_bytes()[..]].concat();
    device.write_all(&[&header, body].concat())
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |bytes| u32::from_le_bytes(bytes.try_into().unwrap_or_default()))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

impl Server {
    fn run(&mut self) -> Result<()> {
        let mut buffer = vec![0; REQUEST_BYTES];
        loop {
            let length = match (&self.device).read(&mut buffer) {
                Ok(length) => length,
                // Unmounted.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("/dev/fuse"),
            };
            self.serve(buffer.get(..length).unwrap_or_default())?;
        }
    }

    fn serve(&mut self, request: &[u8]) -> Result<()> {
        let (opcode, unique) = (word(request, 4), long(request, 8));
        let body = request.get(wire::HEADER_BYTES..).unwrap_or_default();
        let reply = match opcode {
            wire::FORGET | wire::BATCH_FORGET => return Ok(()),
            wire::INIT => Self::greeting(),
            wire::GETATTR | wire::SETATTR => self.attributes(),
            wire::OPEN => vec![0; 16],
            wire::READ => self.read(long(body, 8), word(body, 16)),
            wire::WRITE => {
                let written = word(body, 16);
                self.write(long(body, 8), body.get(40..).unwrap_or_default());
                self.held.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.push((unique, written));
                println!("held");
                return Ok(());
            }
            wire::RELEASE | wire::FLUSH | wire::FSYNC => Vec::new(),
            _ => return Ok(answer(&self.device, unique, -libc::ENOSYS, &[])?),
        };
        answer(&self.device, unique, 0, &reply)?;
        Ok(())
    }

    fn greeting() -> Vec<u8> {
        let mut reply = vec![0; wire::INIT_BYTES];
        let words = [
            (0, wire::MAJOR),
            (4, wire::MINOR),
            (8, MAX_WRITE),
            (16, 16 | 12 << 16),
            (20, MAX_WRITE),
            (24, 1),
        ];
        for (at, word) in words {
            reply[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        reply
    }

    /// `struct fuse_attr_out`: valid for an hour.
    fn attributes(&self) -> Vec<u8> {
        let mut reply = vec![0; 104];
        reply[..8].copy_from_slice(&3600_u64.to_le_bytes());
        let attributes = &mut reply[16..];
        attributes[..8].copy_from_slice(&1_u64.to_le_bytes());
        attributes[8..16].copy_from_slice(&self.bytes.to_le_bytes());
        attributes[60..64].copy_from_slice(&MODE.to_le_bytes());
        attributes[64..68].copy_from_slice(&1_u32.to_le_bytes());
        attributes[80..84].copy_from_slice(&4096_u32.to_le_bytes());
        reply
    }

    fn read(&self, offset: u64, bytes: u32) -> Vec<u8> {
        let end = (offset + u64::from(bytes)).min(self.bytes);
        let page_of = |at: u64| self.pages.get(&(at / 4096));
        (offset..end)
            .map(|at| page_of(at).and_then(|page| page.get((at % 4096) as usize)).copied().unwrap_or(0))
            .collect()
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            let page = self.pages.entry(at / 4096).or_insert_with(|| vec![0; 4096]);
            page[(at % 4096) as usize] = *byte;
        }
    }
}
