// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which domain is meant: its number, and the UUID that tells it from a later domain of that number.
//!
//! Never its name: anybody may call a domain anything, at any time. A UUID stays with a guest that reboots or is
//! restored, while its number changes. Both come from Xen; no guest can write either.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::domain::Life;

/// Digits of the groups of a UUID as text.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

/// A domain's UUID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Uuid(u128);

impl FromStr for Uuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let groups: Vec<&str> = text.split('-').collect();
        let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
        let digits = groups.concat();
        let clean = digits.chars().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| clean && lengths == GROUPS);
        number.map(Self).ok_or_else(|| format!("{text:?} is no UUID"))
    }
}

impl TryFrom<String> for Uuid {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Uuid> for String {
    fn from(uuid: Uuid) -> Self {
        uuid.to_string()
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        let mut rest = digits.as_str();
        for (number, length) in GROUPS.into_iter().enumerate() {
            let (group, behind) = rest.split_at(length);
            let dash = if number == 0 { "" } else { "-" };
            write!(f, "{dash}{group}")?;
            rest = behind;
        }
        Ok(())
    }
}

/// One domain, for as long as there is a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub domid: u16,
    /// Its UUID.
    pub uuid: Uuid,
}

/// A domain that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Which.
    pub identity: Identity,
    /// What it is called now.
    pub name: String,
    /// Whether it lives.
    pub life: Life,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_what_xen_prints() {
        let text = "8d1de4e8-f136-4617-9880-191990aba82b";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!(uuid.to_string(), text);
        assert_eq!("8D1DE4E8-F136-4617-9880-191990ABA82B".parse(), Ok(uuid));
        assert_eq!("00000000-0000-0000-0000-000000000000".parse(), Ok(Uuid::default()));
        for text in [
            "",
            "8d1de4e8f13646179880191990aba82b",
            "8d1de4e8-f136-4617-9880-191990aba82",
            "+d1de4e8-f136-4617-9880-191990aba82b",
            "8d1de4e8-f136-4617-9880-191990aba82b-",
            "../../etc/passwd",
        ] {
            assert!(text.parse::<Uuid>().is_err(), "{text}");
        }
    }
}
