// SPDX-License-Identifier: MIT OR Apache-2.0
//! The worker inside the address space of a region's process: copies, faults, lookups.

use core::ffi::{c_ulong, c_void};
use core::marker::PhantomData;

use xenlend_shim_core::lendable::FrameFacts;
use xenlend_shim_core::permission::Protection;

use super::ffi;
use super::region::RegionObject;
use crate::errno::{Errno, EFAULT, ENOENT};

/// `HMM_PFN_REQ_FAULT`, and `HMM_PFN_VALID` in answers.
pub const HMM_VALID: u64 = 1 << 63;
/// `HMM_PFN_REQ_WRITE`, and `HMM_PFN_WRITE` in answers.
pub const HMM_WRITE: u64 = 1 << 62;
/// `HMM_PFN_ERROR`
pub const HMM_ERROR: u64 = 1 << 61;
const HMM_FLAGS: u64 = 0xff << 56;

/// The frame number in an answer of [`Mapping::look_at_range`].
pub fn hmm_pfn(answer: u64) -> u64 {
    answer & !HMM_FLAGS
}

/// The calling kernel thread uses the address space while this lives.
pub struct AddressSpace<'a> {
    region: &'a RegionObject,
    here: PhantomData<*mut ()>,
}

impl<'a> AddressSpace<'a> {
    /// Worker only. `None` if the process is gone.
    pub fn enter(region: &'a RegionObject) -> Option<Self> {
        // SAFETY: the caller is a kernel thread that is in no address space: there is one
        // place in the worker that calls this, and the value is dropped there.
        let entered = unsafe { ffi::xenlend_address_space_enter(region.region.as_ptr()) };
        // Not `then_some`: a value made in vain would leave an address space that it never entered.
        if entered {
            Some(Self { region, here: PhantomData })
        } else {
            None
        }
    }

    /// Reads bytes of the process, in one access of the processor where size and address allow it. Takes no
    /// fault: an error means that a page is not there now.
    #[allow(clippy::unused_self)] // it is what makes addresses of the process mean something
    pub fn read(&self, from: u64, to: &mut [u8]) -> Result<(), Errno> {
        if is_single(from, to.len()) {
            let mut word = [0u64; 1];
            // SAFETY: `word` has room for the 1, 2, 4 or 8 bytes and is aligned for them.
            let error = unsafe {
                let cell = word.as_mut_ptr().cast::<c_void>();
                ffi::xenlend_address_space_read(cell, from as c_ulong, to.len(), true)
            };
            for (byte, value) in to.iter_mut().zip(word[0].to_le_bytes()) {
                *byte = value;
            }
            return if error == 0 { Ok(()) } else { Err(EFAULT) };
        }
        // SAFETY: `to` is valid for its length; the glue checks the address of the process.
        let error = unsafe {
            let bytes = to.as_mut_ptr().cast::<c_void>();
            ffi::xenlend_address_space_read(bytes, from as c_ulong, to.len(), false)
        };
        if error == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }

    /// Writes bytes of the process, in the same way.
    #[allow(clippy::unused_self)] // it is what makes addresses of the process mean something
    pub fn write(&self, to: u64, from: &[u8]) -> Result<(), Errno> {
        let single = is_single(to, from.len());
        let mut word = [0u8; 8];
        for (byte, value) in word.iter_mut().zip(from).filter(|_| single) {
            *byte = *value;
        }
        let aligned = [u64::from_le_bytes(word)];
        let source = if single { aligned.as_ptr().cast::<c_void>() } else { from.as_ptr().cast() };
        // SAFETY: `source` is valid for the bytes, and aligned for the 1, 2, 4 or 8 of them if
        // `single`; the glue checks the address of the process.
        let error = unsafe { ffi::xenlend_address_space_write(to as c_ulong, source, from.len(), single) };
        if error == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }

    /// Takes the lock on what the process has mapped, to read.
    pub fn lock_mapping(&self) -> Mapping<'_> {
        // SAFETY: the process is alive while `self` is; nothing that a notifier takes is held.
        unsafe { ffi::xenlend_mapping_lock(self.region.region.as_ptr()) };
        Mapping { region: self.region, here: PhantomData }
    }
}

impl Drop for AddressSpace<'_> {
    fn drop(&mut self) {
        // SAFETY: entered by `enter` in this thread.
        unsafe { ffi::xenlend_address_space_leave(self.region.region.as_ptr()) };
    }
}

fn is_single(address: u64, bytes: usize) -> bool {
    matches!(bytes, 1 | 2 | 4 | 8) && address % bytes as u64 == 0
}

/// What a process has mapped, with its lock held.
pub struct Mapping<'a> {
    region: &'a RegionObject,
    here: PhantomData<*mut ()>,
}

/// A piece of the process's address space with one kind of backing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Vma {
    /// First byte.
    pub start: u64,
    /// Behind the last byte.
    pub end: u64,
    /// What the process may do there.
    pub protection: Protection,
    /// Page-table entries name frames directly.
    pub pfn_mapped: bool,
}

/// How a fault ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Faulted {
    /// Done, and the lock was held all the time.
    Held,
    /// Done, but the lock was let go of: what was read under it may be different now.
    LetGo,
}

/// How an attempt to fault a page in without waiting ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// Done; what was read under the lock before may be different now.
    Done,
    /// Somebody has to be waited for: a lock of a page, input, another process.
    WouldWait,
}

impl Mapping<'_> {
    /// What is mapped at an address.
    pub fn vma_at(&self, address: u64) -> Option<Vma> {
        let mut vma = ffi::Vma::default();
        // SAFETY: the lock is held; `vma` is written.
        let found = unsafe {
            ffi::xenlend_mapping_vma(self.region.region.as_ptr(), address as c_ulong, &raw mut vma)
        };
        found.then_some(Vma {
            start: vma.start,
            end: vma.end,
            protection: Protection {
                readable: vma.readable != 0,
                writable: vma.writable != 0,
                secret: vma.secret != 0,
            },
            pfn_mapped: vma.pfn_mapped != 0,
        })
    }

    /// Faults one page in.
    pub fn fault(&self, address: u64, write: bool) -> Result<Faulted, Errno> {
        // SAFETY: the lock is held, and held again afterwards.
        match unsafe { ffi::xenlend_mapping_fault(self.region.region.as_ptr(), address as c_ulong, write) } {
            0 => Ok(Faulted::Held),
            1.. => Ok(Faulted::LetGo),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// Faults one page in unless somebody had to be waited for.
    pub fn try_fault(&self, address: u64, write: bool) -> Result<Tried, Errno> {
        // SAFETY: the lock is held, and held again afterwards.
        let result =
            unsafe { ffi::xenlend_mapping_try_fault(self.region.region.as_ptr(), address as c_ulong, write) };
        match result {
            0 => Ok(Tried::Done),
            1.. => Ok(Tried::WouldWait),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// The frame number and whether it may be written, of a page of a [`Vma::pfn_mapped`] piece.
    pub fn pfn_at(&self, address: u64) -> Option<(u64, bool)> {
        let (mut pfn, mut writable) = (0, 0);
        // SAFETY: the lock is held; both values are written on success.
        let error = unsafe {
            let region = self.region.region.as_ptr();
            ffi::xenlend_mapping_pfn(region, address as c_ulong, &raw mut pfn, &raw mut writable)
        };
        (error == 0).then_some((pfn, writable != 0))
    }

    /// The frame number and whether it may be written, of a page of ordinary memory that is there.
    /// `EACCES`: it is no page of this kernel's.
    pub fn page_at(&self, address: u64) -> Result<Option<(u64, bool)>, Errno> {
        let (mut pfn, mut writable) = (0, 0);
        // SAFETY: the lock is held; both values are written on success.
        let error = unsafe {
            let region = self.region.region.as_ptr();
            ffi::xenlend_mapping_page(region, address as c_ulong, &raw mut pfn, &raw mut writable)
        };
        match error {
            0 => Ok(Some((pfn, writable != 0))),
            error if Errno::from_kernel(error) == ENOENT => Ok(None),
            error => Err(Errno::from_kernel(error)),
        }
    }

    /// Looks at the entries of ordinary pages; `pages` are 0 before and `HMM_*` afterwards. `EBUSY`: an invalidation
    /// is running or came between.
    pub fn look_at_range(&self, sequence: c_ulong, start: u64, pages: &mut [u64]) -> Result<(), Errno> {
        let end = start + pages.len() as u64 * 4096;
        // SAFETY: the lock is held; `pages` has one word for each page of the range, which
        // is how long the C side takes it to be.
        let error = unsafe {
            ffi::xenlend_mapping_range(
                self.region.region.as_ptr(),
                sequence,
                start as c_ulong,
                end as c_ulong,
                pages.as_mut_ptr().cast::<c_ulong>(),
            )
        };
        if error == 0 {
            Ok(())
        } else {
            Err(Errno::from_kernel(error))
        }
    }
}

impl Drop for Mapping<'_> {
    fn drop(&mut self) {
        // SAFETY: taken by `lock_mapping` in this thread.
        unsafe { ffi::xenlend_mapping_unlock(self.region.region.as_ptr()) };
    }
}

/// What the kernel knows about a frame number.
pub fn frame_facts(pfn: u64) -> FrameFacts {
    let mut frame = ffi::Frame::default();
    // SAFETY: any number may be asked for; `frame` is written.
    unsafe { ffi::xenlend_mapping_frame(pfn, &raw mut frame) };
    FrameFacts {
        pfn: frame.pfn,
        p2m_entry: frame.p2m_entry,
        m2p_pfn: frame.m2p_pfn,
        is_translated: frame.is_translated != 0,
        has_page: frame.has_page != 0,
        is_special: frame.is_special != 0,
        is_zero_page: frame.is_zero_page != 0,
        is_device_memory: frame.is_device_memory != 0,
    }
}

/// Marks the page of ordinary memory that [`Mapping::look_at_range`] has just found as written to: the
/// borrower's writes leave no trace in this kernel's page tables.
pub fn mark_written(mapping: &Mapping<'_>, pfn: u64) {
    let _ = mapping;
    // SAFETY: the number came from a page-table entry of ordinary memory, so it has a page structure.
    unsafe { ffi::xenlend_mapping_mark_written(pfn) };
}
