// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory as it is at entry: mapped to itself by entry.s.

use xenlend_broker_domain::start_info::{EntryMemory, MAPPED_BYTES};

/// The first GiB.
pub struct MappedToItself(());

impl MappedToItself {
    /// # Safety
    /// The tables of entry.s are in use while the value lives.
    pub unsafe fn new() -> Self {
        Self(())
    }
}

impl EntryMemory for MappedToItself {
    fn read(&self, address: u64, bytes: &mut [u8]) {
        let end = address.checked_add(bytes.len() as u64);
        assert!(
            address != 0 && end.is_some_and(|end| end <= MAPPED_BYTES),
            "nothing is mapped at {address:#x}"
        );
        // SAFETY: the span is inside what is mapped, as `new` was promised, and not a null pointer; nothing that
        // the compiler knows of is written meanwhile.
        unsafe { core::ptr::copy(address as *const u8, bytes.as_mut_ptr(), bytes.len()) };
    }
}
