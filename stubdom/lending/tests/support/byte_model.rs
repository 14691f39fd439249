// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a request does, said independently: element by element, byte by byte, on two
//! flat memories, as an emulator's device loop does it.

use std::collections::BTreeMap;

use xenlend_lending::hypervisor::IoreqClaim;

use super::fake_hypervisor::APERTURE;

/// Both memories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteModel {
    /// The aperture, from its first byte on. A page that is not here is outside every lease.
    pub aperture: BTreeMap<u64, Vec<u8>>,
    /// The borrower's RAM, by gfn.
    pub ram: BTreeMap<u64, Vec<u8>>,
}

impl ByteModel {
    fn aperture_byte(&mut self, address: u64) -> Option<&mut u8> {
        let byte = address.checked_sub(APERTURE)?;
        self.aperture.get_mut(&(byte / 4096)).map(|page| &mut page[(byte % 4096) as usize])
    }

    fn ram_byte(&mut self, address: u64) -> Option<&mut u8> {
        self.ram.get_mut(&(address / 4096)).map(|page| &mut page[(address % 4096) as usize])
    }

    /// Does a COPY request; gives the low bytes of the datum of a read into a value.
    pub fn copy(&mut self, claim: &IoreqClaim) -> Option<u64> {
        let mut value = [0; 8];
        for element in 0..u64::from(claim.count) {
            let step = element * u64::from(claim.size);
            let place = |base: u64| if claim.downwards { base - step } else { base + step };
            for byte in 0..u64::from(claim.size) {
                let aperture_at = place(claim.address) + byte;
                if claim.is_read {
                    let read = self.aperture_byte(aperture_at).map_or(0xff, |byte| *byte);
                    if !claim.data_is_pointer {
                        value[byte as usize] = read;
                    } else if let Some(ram) = self.ram_byte(place(claim.data) + byte) {
                        *ram = read;
                    }
                } else {
                    let written = if claim.data_is_pointer {
                        self.ram_byte(place(claim.data) + byte).map(|byte| *byte)
                    } else {
                        Some(claim.data.to_le_bytes()[byte as usize])
                    };
                    if let (Some(written), Some(to)) = (written, self.aperture_byte(aperture_at)) {
                        *to = written;
                    }
                }
            }
        }
        (claim.is_read && !claim.data_is_pointer).then(|| u64::from_le_bytes(value))
    }
}
