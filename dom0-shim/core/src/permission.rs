// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which accesses of the borrower the lender's mapping of a page permits, and how the others end.
//!
//! | the process has there | the borrower reads | it writes |
//! |---|---|---|
//! | what can be read and written | done | done |
//! | what can be read | done | waits |
//! | nothing, or what cannot be read | refused: loss policy | refused: loss policy |
//! | what it hides from everybody (`memfd_secret`) | refused: loss policy | refused: loss policy |
//!
//! A page with contents is never shown as zeros because it may not be written, and a write is never
//! dropped for it.

use crate::lendable::FrameRefusal;

/// How a process may use what it has mapped at a page. Nothing is there: neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// It may read.
    pub readable: bool,
    /// It may write.
    pub writable: bool,
    /// It has hidden this memory from everybody else, the kernel too.
    pub secret: bool,
}

/// What comes of an access that is done for the borrower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may be done.
    Granted,
    /// It waits until the protection changes, the region ends or the process says what is to be
    /// done.
    Waits,
    /// It ends by the loss policy.
    Refused(FrameRefusal),
}

/// What entry can be made in the second stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// One for reading and writing.
    ReadWrite,
    /// One for reading.
    ReadOnly,
    /// None, and whoever needs one waits.
    Waits,
    /// None. Accesses are done one by one, each by what is permitted then.
    None,
    /// None: the loss policy holds.
    Refused(FrameRefusal),
}

impl Protection {
    /// Judges an access.
    pub fn access(self, writes: bool) -> Access {
        if self.secret {
            return Access::Refused(FrameRefusal::Secret);
        }
        match (self.readable || self.writable, writes) {
            (false, _) => Access::Refused(FrameRefusal::Unmapped),
            (true, false) if !self.readable => Access::Refused(FrameRefusal::Unmapped),
            (true, true) if !self.writable => Access::Waits,
            (true, _) => Access::Granted,
        }
    }

    /// Judges an entry for a region that is lent for reading only or not, on a Xen that has such
    /// entries or, like stock Xen, does each access for which there is none.
    pub fn entry(self, read_only_region: bool, completes_accesses: bool) -> Entry {
        match self {
            Self { secret: true, .. } => Entry::Refused(FrameRefusal::Secret),
            Self { readable: false, .. } => Entry::Refused(FrameRefusal::Unmapped),
            _ if read_only_region => Entry::ReadOnly,
            Self { writable: true, .. } => Entry::ReadWrite,
            _ if completes_accesses => Entry::None,
            _ => Entry::Waits,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Protection = Protection { readable: false, writable: false, secret: false };
    const READ: Protection = Protection { readable: true, ..NOTHING };
    const WRITE: Protection = Protection { writable: true, ..NOTHING };
    const BOTH: Protection = Protection { writable: true, ..READ };
    const UNMAPPED: FrameRefusal = FrameRefusal::Unmapped;

    #[test]
    fn a_write_waits_where_the_contents_can_only_be_read() {
        let rows = [
            (NOTHING, Access::Refused(UNMAPPED), Access::Refused(UNMAPPED)),
            (READ, Access::Granted, Access::Waits),
            (WRITE, Access::Refused(UNMAPPED), Access::Granted),
            (BOTH, Access::Granted, Access::Granted),
        ];
        for (protection, reads, writes) in rows {
            assert_eq!(protection.access(false), reads, "{protection:?}");
            assert_eq!(protection.access(true), writes, "{protection:?}");
        }
    }

    #[test]
    fn what_a_process_hides_is_neither_lent_nor_reached() {
        for protection in [NOTHING, READ, WRITE, BOTH].map(|shown| Protection { secret: true, ..shown }) {
            for flag in [false, true] {
                assert_eq!(protection.access(flag), Access::Refused(FrameRefusal::Secret));
                assert_eq!(protection.entry(flag, false), Entry::Refused(FrameRefusal::Secret));
                assert_eq!(protection.entry(false, flag), Entry::Refused(FrameRefusal::Secret));
            }
        }
    }

    #[test]
    fn contents_are_never_refused_because_they_may_not_be_written() {
        for (read_only_region, completes_accesses) in [(false, false), (false, true), (true, false)] {
            let entry = |protection: Protection| protection.entry(read_only_region, completes_accesses);
            assert_eq!(entry(NOTHING), Entry::Refused(UNMAPPED));
            assert_eq!(entry(WRITE), Entry::Refused(UNMAPPED));
            let whole = if read_only_region { Entry::ReadOnly } else { Entry::ReadWrite };
            assert_eq!(entry(BOTH), whole);
        }
        assert_eq!(READ.entry(true, false), Entry::ReadOnly);
        assert_eq!(READ.entry(false, true), Entry::None);
        assert_eq!(READ.entry(false, false), Entry::Waits);
    }
}
