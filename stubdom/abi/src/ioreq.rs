// SPDX-License-Identifier: MIT OR Apache-2.0
//! Emulation requests (`public/hvm/ioreq.h`): one slot of 32 bytes for each vCPU of the borrower in a
//! page that Xen shares with the broker.

/// Bytes of one slot (`struct ioreq`).
pub const SLOT_BYTES: usize = 32;
/// Slots in the page.
pub const SLOTS: usize = 128;
/// Offset of `addr`.
pub const ADDR_OFFSET: usize = 0;
/// Offset of `data`.
pub const DATA_OFFSET: usize = 8;
/// Offset of `count`.
pub const COUNT_OFFSET: usize = 16;
/// Offset of `size`.
pub const SIZE_OFFSET: usize = 20;
/// Offset of `vp_eport`. Never written: Xen fails the next request if it changes.
pub const PORT_OFFSET: usize = 24;
/// Offset of the byte that packs state and flags.
pub const STATE_OFFSET: usize = 30;
/// Offset of `type`.
pub const TYPE_OFFSET: usize = 31;

/// `STATE_IOREQ_NONE`.
pub const STATE_NONE: u8 = 0;
/// `STATE_IOREQ_READY`: Xen has filled it in.
pub const STATE_READY: u8 = 1;
/// `STATE_IOREQ_INPROCESS`: the broker has taken it.
pub const STATE_IN_PROCESS: u8 = 2;
/// `STATE_IORESP_READY`: the broker has answered it.
pub const STATE_RESPONSE_READY: u8 = 3;

/// `IOREQ_TYPE_COPY`: an access to memory.
pub const TYPE_COPY: u8 = 1;
/// `IOREQ_TYPE_INVALIDATE`: the borrower's physmap has changed.
pub const TYPE_INVALIDATE: u8 = 8;

const STATE_MASK: u8 = 0x0f;
const DATA_IS_POINTER: u8 = 1 << 4;
const IS_READ: u8 = 1 << 5;
const DOWNWARDS: u8 = 1 << 6;

/// The byte that packs state and flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateByte(pub u8);

impl StateByte {
    /// `STATE_*`.
    pub const fn state(self) -> u8 {
        self.0 & STATE_MASK
    }

    /// The same flags with another state: the byte is written as a whole, so the flags must be kept.
    #[must_use]
    pub const fn with_state(self, state: u8) -> Self {
        Self((self.0 & !STATE_MASK) | (state & STATE_MASK))
    }

    /// `data` is a guest-physical address.
    pub const fn data_is_pointer(self) -> bool {
        self.0 & DATA_IS_POINTER != 0
    }

    /// A read from the emulated device.
    pub const fn is_read(self) -> bool {
        self.0 & IS_READ != 0
    }

    /// Elements run downwards (the direction flag).
    pub const fn downwards(self) -> bool {
        self.0 & DOWNWARDS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_state_keeps_the_flags() {
        for byte in 0..=u8::MAX {
            let packed = StateByte(byte);
            let moved = packed.with_state(STATE_IN_PROCESS);
            assert_eq!(moved.state(), STATE_IN_PROCESS);
            assert_eq!(moved.0 & 0xf0, byte & 0xf0);
            assert_eq!(moved.is_read(), packed.is_read());
        }
        let read = StateByte(0x21);
        assert!(read.is_read() && !read.data_is_pointer() && !read.downwards());
        assert_eq!(read.state(), STATE_READY);
    }
}
