// SPDX-License-Identifier: MIT OR Apache-2.0
//! A structure of a process, which may be of another version than this module's: `core/src/call.rs` has the rule.

use core::ffi::c_ulong;

use crate::errno::{Errno, E2BIG, EFAULT};
use crate::kernel_api::user;

/// Where it is, and how long the process says that it is.
#[derive(Clone, Copy)]
pub struct Structure {
    /// Its address in the process.
    pub address: c_ulong,
    /// Its bytes.
    pub bytes: usize,
}

/// Bytes of the part that nobody here knows, looked at in one go.
const PIECE: usize = 64;

impl Structure {
    /// Reads it: what is missing of it is zeros.
    ///
    /// # Errors
    /// `EFAULT`; `E2BIG` if what nobody here knows is not zeros.
    pub fn read<const N: usize>(self) -> Result<[u8; N], Errno> {
        let mut known = [0; N];
        user::read_into(self.address, known.get_mut(..self.bytes.min(N)).ok_or(EFAULT)?)?;
        let mut at = N;
        while at < self.bytes {
            let mut piece = [0; PIECE];
            let bytes = (self.bytes - at).min(PIECE);
            user::read_into(self.address + at as c_ulong, piece.get_mut(..bytes).ok_or(EFAULT)?)?;
            if piece != [0; PIECE] {
                return Err(E2BIG);
            }
            at += bytes;
        }
        Ok(known)
    }

    /// Writes as much of an answer as it has room for.
    pub fn write(self, answer: &[u8]) -> Result<(), Errno> {
        user::write(self.address, answer.get(..self.bytes.min(answer.len())).ok_or(EFAULT)?)
    }
}
