// SPDX-License-Identifier: MIT OR Apache-2.0
//! One more borrower for a broker that runs: the value of its xenstore node `xenlend/more/BORROWER`.
//!
//! One line, so that it is there whole or not at all: its fields, each as `name=value`, in this order, with a
//! blank between. Numbers are decimal.

use core::fmt;

/// What the lender's tool says of one more link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Domain of the lender.
    pub lender: u16,
    /// Its grants: control page, page to the broker, page to the lender.
    pub rings: [u32; 3],
    /// Its port.
    pub event_channel: u32,
    /// The aperture's first frame, below 2^40.
    pub aperture_gfn: u64,
    /// The aperture's frames, not 0.
    pub aperture_pages: u32,
    /// The borrower's vCPUs, 1 to 128.
    pub vcpus: u16,
}

/// Frame numbers of 52 bits of address: no shift of one overflows.
const GFN_END: u64 = 1 << 40;
/// More than Xen gives a borrower of this kind.
const VCPUS_MAX: u16 = 128;

impl Joining {
    /// Understands a line. `None` if it is none, or says what cannot be.
    pub fn parse(line: &str) -> Option<Self> {
        let mut fields = Fields(line.split(' '));
        let joining = Self {
            lender: fields.next("lender")?,
            rings: [fields.next("control")?, fields.next("to-broker")?, fields.next("to-lender")?],
            event_channel: fields.next("event-channel")?,
            aperture_gfn: fields.next("aperture-gfn")?,
            aperture_pages: fields.next("aperture-pages")?,
            vcpus: fields.next("vcpus")?,
        };
        let sane = joining.aperture_gfn < GFN_END
            && joining.aperture_pages > 0
            && (1..=VCPUS_MAX).contains(&joining.vcpus)
            && fields.0.next().is_none();
        sane.then_some(joining)
    }
}

impl fmt::Display for Joining {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [control, to_broker, to_lender] = self.rings;
        write!(
            formatter,
            "lender={} control={control} to-broker={to_broker} to-lender={to_lender} event-channel={} \
             aperture-gfn={} aperture-pages={} vcpus={}",
            self.lender, self.event_channel, self.aperture_gfn, self.aperture_pages, self.vcpus
        )
    }
}

struct Fields<'a>(core::str::Split<'a, char>);

impl Fields<'_> {
    fn next<T: core::str::FromStr>(&mut self, name: &str) -> Option<T> {
        let (found, digits) = self.0.next()?.split_once('=')?;
        // `parse` takes a sign.
        let plain = found == name && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok())?
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &str = "lender=0 control=8 to-broker=9 to-lender=10 event-channel=33 aperture-gfn=2097152 \
                        aperture-pages=16384 vcpus=2";

    #[test]
    fn a_line_is_understood() {
        let joining = Joining {
            lender: 0,
            rings: [8, 9, 10],
            event_channel: 33,
            aperture_gfn: 0x20_0000,
            aperture_pages: 16384,
            vcpus: 2,
        };
        assert_eq!(Joining::parse(LINE), Some(joining));
        assert_eq!(joining.to_string(), LINE);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (part, other) in [
            ("vcpus=2", "vcpus=0"),
            ("vcpus=2", "vcpus=129"),
            ("vcpus=2", "vcpus=+2"),
            ("vcpus=2", "vcpus="),
            ("vcpus=2", "vcpus"),
            ("vcpus=2", "vcpus=2 more=1"),
            ("vcpus=2", "vcpus=2 "),
            (" vcpus=2", ""),
            ("aperture-pages=16384", "aperture-pages=0"),
            ("aperture-pages=16384", "aperture-pages=4294967296"),
            ("aperture-gfn=2097152", "aperture-gfn=1099511627776"),
            ("lender=0", "lender=65536"),
            ("control=8 to-broker=9", "to-broker=9 control=8"),
        ] {
            let line = LINE.replace(part, other);
            assert_ne!(line, LINE, "{part}");
            assert_eq!(Joining::parse(&line), None, "{line}");
        }
        assert_eq!(Joining::parse(""), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            lender: u16, rings: [u32; 3], event_channel: u32, aperture_gfn in 0..GFN_END,
            aperture_pages in 1..=u32::MAX, vcpus in 1..=VCPUS_MAX
        ) {
            let joining = Joining { lender, rings, event_channel, aperture_gfn, aperture_pages, vcpus };
            prop_assert_eq!(Joining::parse(&joining.to_string()), Some(joining));
            // xenstore's value, and the broker's room for one.
            prop_assert!(joining.to_string().len() <= 256);
        }

        #[test]
        fn no_line_is_a_panic(line: String) {
            let _ = Joining::parse(&line);
        }
    }
}
