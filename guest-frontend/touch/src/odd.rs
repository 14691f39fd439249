// SPDX-License-Identifier: MIT OR Apache-2.0
//! What programs seldom do to a mapping of a lease, each with the result that the driver's
//! DESIGN.md promises.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use anyhow::{bail, ensure, Context, Result};
use clap::Args;
use libc::{c_int, c_void};
use xenlend_guest::Device;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::driven::connected;
use xenlend_touch::memory::PAGE_BYTES;

/// Pages of the lease that are used.
const PAGES: usize = 8;
const BYTES: usize = PAGES * PAGE_BYTES;
const READ_WRITE: c_int = libc::PROT_READ | libc::PROT_WRITE;

#[derive(Args)]
pub struct Odd {
    /// A lease of at least 8 pages, which may be written
    #[arg(value_parser = parse_number)]
    offset: u64,
}

/// 0, or the error number of a call that says -1.
fn errno_of(result: libc::c_long) -> c_int {
    if result == -1 {
        std::io::Error::last_os_error().raw_os_error().unwrap_or(-1)
    } else {
        0
    }
}

fn expect(what: &str, found: c_int, expected: c_int) -> Result<()> {
    println!("{what}: {found}");
    ensure!(found == expected, "{what}: error {found} instead of {expected}");
    Ok(())
}

struct Area<'a> {
    device: &'a Device,
    offset: u64,
}

impl Area<'_> {
    fn map(&self, at: *mut c_void, offset: u64, protection: c_int, flags: c_int) -> Result<*mut u8, c_int> {
        let fd = self.device.as_fd().as_raw_fd();
        // SAFETY: a new mapping; `at` is null or names a mapping of this program's to be replaced.
        let address = unsafe { libc::mmap(at, BYTES, protection, flags, fd, offset as libc::off_t) };
        if address == libc::MAP_FAILED {
            Err(errno_of(-1))
        } else {
            Ok(address.cast())
        }
    }

    fn shared(&self) -> Result<*mut u8> {
        self.map(std::ptr::null_mut(), self.offset, READ_WRITE, libc::MAP_SHARED)
            .map_err(|error| anyhow::anyhow!("mmap: error {error}"))
    }
}

/// A byte of a page.
fn byte(area: *mut u8, page: usize) -> *mut u8 {
    assert!(page < PAGES);
    area.wrapping_add(page * PAGE_BYTES)
}

/// Runs something in a child and gives its wait status.
fn in_child(act: impl FnOnce() -> c_int) -> Result<c_int> {
    // SAFETY: this program has one thread; the child only touches memory and ends.
    match unsafe { libc::fork() } {
        -1 => bail!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let status = act();
            // SAFETY: ends the child.
            unsafe { libc::_exit(status) }
        }
        child => {
            let mut status = 0;
            // SAFETY: waits for the child that was just made.
            ensure!(unsafe { libc::waitpid(child, &raw mut status, 0) } == child, "waitpid");
            Ok(status)
        }
    }
}

impl Odd {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        // Waits until the lease is there.
        aperture.map(self.offset, BYTES as u64)?;
        let device = connected()?;
        let area = Area { device: &device, offset: self.offset };
        refused_mappings(&area, aperture)?;
        let memory = area.shared()?;
        // SAFETY: mapped just now.
        unsafe { byte(memory, 0).write_volatile(0x11) };
        protections(memory)?;
        forks(memory)?;
        copies(memory)?;
        pins_and_dumps(memory)?;
        // The one above stays cut where its protection was changed.
        remaps(&area)?;
        println!("odd uses passed");
        Ok(())
    }
}

fn refused_mappings(area: &Area<'_>, aperture: Aperture) -> Result<()> {
    let map = |offset, protection, flags| {
        area.map(std::ptr::null_mut(), offset, protection, flags).err().unwrap_or(0)
    };
    expect("private mapping", map(area.offset, READ_WRITE, libc::MAP_PRIVATE), libc::EINVAL)?;
    let exec = libc::PROT_READ | libc::PROT_EXEC;
    expect("executable mapping", map(area.offset, exec, libc::MAP_SHARED), libc::EACCES)?;
    expect("mapping outside every lease", map(aperture.bytes, READ_WRITE, libc::MAP_SHARED), libc::ENXIO)
}

fn protections(memory: *mut u8) -> Result<()> {
    // SAFETY: changes a mapping of this program's that nobody else uses.
    let protect = |pages: usize, protection| unsafe {
        errno_of(libc::mprotect(memory.cast(), pages * PAGE_BYTES, protection).into())
    };
    expect("mprotect to execute", protect(PAGES, libc::PROT_READ | libc::PROT_EXEC), libc::EACCES)?;
    expect("mprotect of a part to nothing", protect(1, libc::PROT_NONE), 0)?;
    let status = in_child(|| {
        // SAFETY: ends the child by a signal, which is what is looked for.
        unsafe { byte(memory, 0).read_volatile() };
        0
    })?;
    expect("touch of it: signal", status & 0x7f, libc::SIGSEGV)?;
    expect("mprotect back", protect(1, READ_WRITE), 0)?;
    // SAFETY: mapped, and may be read again.
    expect("what is there then", unsafe { byte(memory, 0).read_volatile() }.into(), 0x11)
}

fn forks(memory: *mut u8) -> Result<()> {
    let status = in_child(|| {
        // SAFETY: the child has the mapping too.
        unsafe {
            byte(memory, 1).write_volatile(0x22);
            c_int::from(byte(memory, 0).read_volatile() != 0x11)
        }
    })?;
    expect("a child reads what is there", status, 0)?;
    // SAFETY: mapped.
    expect("and writes for all", unsafe { byte(memory, 1).read_volatile() }.into(), 0x22)
}

/// The kernel's copies work: they are touches like any other.
fn copies(memory: *mut u8) -> Result<()> {
    let zero = fs::File::open("/dev/zero")?;
    // SAFETY: reads into the mapping, which is large enough.
    let read = unsafe { libc::read(zero.as_raw_fd(), byte(memory, 2).cast(), PAGE_BYTES) };
    ensure!(read == PAGE_BYTES as isize, "read() into a lease gave {read}");
    let mut ends = [0; 2];
    // SAFETY: makes a pipe; writes from and reads into the mapping, which is large enough.
    let (written, back) = unsafe {
        ensure!(libc::pipe(ends.as_mut_ptr()) == 0, "pipe");
        let written = libc::write(ends[1], byte(memory, 0).cast(), 16);
        (written, libc::read(ends[0], byte(memory, 3).cast(), 16))
    };
    ensure!((written, back) == (16, 16), "write() from a lease gave {written}, read() {back}");
    // SAFETY: mapped.
    expect("read() and write() through a pipe", unsafe { byte(memory, 3).read_volatile() }.into(), 0x11)
}

fn pins_and_dumps(memory: *mut u8) -> Result<()> {
    let mut ends = [0; 2];
    let piece = libc::iovec { iov_base: memory.cast(), iov_len: PAGE_BYTES };
    // SAFETY: makes a pipe; the call may pin what the piece names, and nothing else.
    let pinned = unsafe {
        ensure!(libc::pipe(ends.as_mut_ptr()) == 0, "pipe");
        errno_of(libc::vmsplice(ends[1], &raw const piece, 1, 0) as libc::c_long)
    };
    expect("vmsplice, as everything that pins pages", pinned, libc::EFAULT)?;
    let mut bytes = [0_u8; 16];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let remote = libc::iovec { iov_base: memory.cast(), iov_len: bytes.len() };
    // SAFETY: reads this process's own memory into `bytes`.
    let read =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    expect("process_vm_readv", errno_of(read as libc::c_long), libc::EFAULT)?;
    let own = fs::File::open("/proc/self/mem")?;
    let error = own.read_at(&mut bytes, memory as u64).err().and_then(|error| error.raw_os_error());
    expect("/proc/self/mem, as a debugger reads", error.unwrap_or(0), libc::EIO)?;
    // SAFETY: gives advice about, and locks, a mapping of this program's.
    let (advised, locked) = unsafe {
        let advised = libc::madvise(memory.cast(), BYTES, libc::MADV_DONTNEED);
        let advised = errno_of(advised.into());
        (advised, errno_of(libc::mlock(memory.cast(), BYTES).into()))
    };
    expect("madvise(MADV_DONTNEED)", advised, libc::EINVAL)?;
    expect("mlock, which does nothing", locked, 0)?;
    let maps = fs::read_to_string("/proc/self/smaps")?;
    let start = format!("{:x}-", memory as usize);
    let entry = maps.split_once(&start).context("no such mapping in smaps")?.1;
    let flags = entry.lines().find(|line| line.starts_with("VmFlags:")).context("no flags in smaps")?;
    println!("{flags}");
    for flag in ["dd", "io", "pf", "de"] {
        ensure!(flags.split_whitespace().any(|word| word == flag), "no {flag}: it may be dumped or grow");
    }
    Ok(())
}

fn remaps(area: &Area<'_>) -> Result<()> {
    let address = area.shared()?.cast::<c_void>();
    // SAFETY: may move the mapping, but is refused.
    let grown = unsafe { libc::mremap(address, BYTES, 2 * BYTES, libc::MREMAP_MAYMOVE) };
    expect("mremap to grow", if grown == libc::MAP_FAILED { errno_of(-1) } else { 0 }, libc::EFAULT)?;
    let elsewhere = area.shared()?;
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: moves the mapping over another of this program's; the old address is not used again.
    let moved = unsafe { libc::mremap(address, BYTES, BYTES, flags, elsewhere.cast::<c_void>()) };
    ensure!(moved == elsewhere.cast(), "mremap to move: {}", std::io::Error::last_os_error());
    // SAFETY: mapped.
    expect("what is there after a move", unsafe { byte(elsewhere, 1).read_volatile() }.into(), 0x22)?;
    // SAFETY: unmaps the middle, which is not used again.
    let unmapped = unsafe { libc::munmap(byte(elsewhere, 2).cast(), 4 * PAGE_BYTES) };
    expect("munmap of the middle", errno_of(unmapped.into()), 0)?;
    // SAFETY: both ends are still mapped.
    unsafe {
        byte(elsewhere, 7).write_volatile(0x33);
        expect("its ends", byte(elsewhere, 1).read_volatile().into(), 0x22)?;
        expect("and its last page", byte(elsewhere, 7).read_volatile().into(), 0x33)
    }
}
