// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory whose pages come only when this process brings them: a userfaultfd that is answered by command.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use anyhow::Result;

use crate::mapping::{check, Window};

/// `UFFD_API`
const API: u64 = 0xAA;
/// `UFFDIO_API`
const HELLO: libc::c_ulong = 0xC018_AA3F;
/// `UFFDIO_REGISTER`
const REGISTER: libc::c_ulong = 0xC020_AA00;
/// `UFFDIO_COPY`
const COPY: libc::c_ulong = 0xC028_AA03;
/// `UFFDIO_REGISTER_MODE_MISSING`
const MISSING: u64 = 1;

/// The descriptor; nobody reads from it.
#[derive(Debug)]
pub struct Unanswered(File);

impl Unanswered {
    /// Every touch of a page of the window that is not there waits from now on.
    pub fn register(window: Window) -> Result<Self> {
        // SAFETY: no memory is named.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: just made, and nobody else's.
        let this = Self(unsafe { File::from_raw_fd(fd as i32) });
        this.call(HELLO, &mut [API, 0, 0], "UFFDIO_API")?;
        let bytes = window.bytes() as u64;
        this.call(REGISTER, &mut [window.address(), bytes, MISSING, 0], "UFFDIO_REGISTER")?;
        Ok(this)
    }

    /// Brings pages: a copy of another window's, from the same offset.
    pub fn answer(&self, window: Window, offset: usize, bytes: usize, from: Window) -> Result<()> {
        let at = |window: Window| window.address() + offset as u64;
        fits(window, offset, bytes)?;
        fits(from, offset, bytes)?;
        self.call(COPY, &mut [at(window), at(from), bytes as u64, 0, 0], "UFFDIO_COPY")
    }

    fn call<const N: usize>(
        &self,
        request: libc::c_ulong,
        words: &mut [u64; N],
        what: &'static str,
    ) -> Result<()> {
        // SAFETY: each request takes a structure of so many words, and the memory that it names is inside
        // windows, to which no reference exists.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), request, words.as_mut_ptr()) }, what)
    }
}

fn fits(window: Window, offset: usize, bytes: usize) -> Result<()> {
    anyhow::ensure!(offset.checked_add(bytes).is_some_and(|end| end <= window.bytes()), "outside the window");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Unanswered;
    use crate::mapping::{Content, Window};

    #[test]
    fn a_touch_waits_until_the_page_is_brought() {
        let (window, from) = (Window::reserve(8192).unwrap(), Window::reserve(8192).unwrap());
        for window in [window, from] {
            window.map(0, 8192, Content::Anonymous).unwrap();
        }
        from.memory().write_u64(4096, 42);
        // A kernel may keep it from whoever is not root: then there is nothing to try.
        let Ok(unanswered) = Unanswered::register(window) else { return };
        let toucher = std::thread::spawn(move || window.memory().read_u64(4096));
        unanswered.answer(window, 4096, 4096, from).unwrap();
        assert_eq!(toucher.join().unwrap(), 42);
        assert!(unanswered.answer(window, 8192, 4096, from).is_err());
    }
}
