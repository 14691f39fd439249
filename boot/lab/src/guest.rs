// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conversation between `guest-exec` in dom0 and a guest's agent, over TCP on the guest's vif.
//! One connection is one command.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// The port on which a guest's agent takes commands.
pub const COMMAND_PORT: u16 = 7001;

/// The port on which dom0's agent hears that a guest is up.
pub const READY_PORT: u16 = 7002;

/// Exit status of `guest-exec` when the guest could not be asked or vanished.
pub const STATUS_NO_GUEST: i32 = 255;

/// dom0's address on the vif of the guest with this number (1 for g1).
pub fn dom0_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, number, 1)
}

/// The guest's address on its vif.
pub fn guest_address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, number, 2)
}

/// The number in a lab guest's name: 1 for g1.
pub fn guest_number(name: &str) -> Option<u8> {
    name.strip_prefix('g')?.parse().ok().filter(|number| (1..=254).contains(number))
}

/// What `guest-exec` sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToGuest {
    /// Start this; the first message of a connection.
    Run {
        /// Program and arguments, as bytes.
        command: Vec<Vec<u8>>,
    },
    /// More of the command's standard input; nothing is its end.
    Input {
        /// Its bytes.
        data: Vec<u8>,
    },
}

/// What the guest's agent sends.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToCaller {
    /// Bytes of standard output.
    Output {
        /// Those bytes.
        data: Vec<u8>,
    },
    /// Bytes of standard error.
    Error {
        /// Those bytes.
        data: Vec<u8>,
    },
    /// The command has ended, and this is the last message. 128 plus the signal if one ended it.
    Exit {
        /// The status.
        status: i32,
    },
}

/// A guest's agent tells dom0's that it takes commands now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The guest's name.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::guest_number;

    #[test]
    fn only_the_names_that_the_lab_gives_have_a_number() {
        assert_eq!(guest_number("g1"), Some(1));
        assert_eq!(guest_number("g254"), Some(254));
        for name in ["g0", "g255", "g", "1", "h1", "g-1", "g1x", ""] {
            assert_eq!(guest_number(name), None, "{name}");
        }
    }
}
