// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which window of the guest's address space becomes the aperture, and why another may not.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use xenlend::layout::APERTURE_MAX;

use super::frontend_nodes::parse_digits;
use super::guest::Guest;
use super::memmap::{parse_bytes, reservations, Stretch};

/// Base and size are multiples of this: 2 MiB entries need it.
const ALIGNMENT: u64 = 2 << 20;
const PAGE_SHIFT: u32 = 12;
const FOUR_GIB: u64 = 1 << 32;

/// The window of the borrower's address space in which lent memory appears.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aperture {
    /// Guest-physical address of the first byte.
    pub address: u64,
    /// Number of bytes.
    pub size: u64,
}

impl Aperture {
    /// Frame number of the first page.
    pub fn gfn(self) -> u64 {
        self.address >> PAGE_SHIFT
    }

    /// Number of pages.
    pub fn pages(self) -> u64 {
        self.size >> PAGE_SHIFT
    }

    fn stretch(self) -> Stretch {
        Stretch { base: self.address, size: self.size }
    }
}

impl fmt::Display for Aperture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}:{:#x}", self.address, self.size)
    }
}

impl FromStr for Aperture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (base, size) = text.split_once(':').ok_or("expected BASE:SIZE, such as 0x100000000:64M")?;
        let number = |part: &str| parse_bytes(part).ok_or_else(|| format!("{part:?} is no number of bytes"));
        Ok(Self { address: number(base)?, size: number(size)? })
    }
}

/// Why there is no aperture.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ApertureRefusal {
    #[error("guest {guest}: its command line is not known to xl, and its driver has claimed no aperture")]
    NoCommandLine { guest: String },
    #[error(
        "guest {guest}: its driver has claimed no aperture, and its command line reserves no memory (no \
         memmap=SIZE$BASE in {command_line:?})"
    )]
    NoReservation { guest: String, command_line: String },
    #[error("guest {guest}: what its driver has claimed is no aperture")]
    BadClaim { guest: String },
    #[error("guest {guest}: its command line reserves several windows ({windows})")]
    Ambiguous { guest: String, windows: String },
    #[error(
        "guest {guest}: its command line does not reserve the aperture {aperture}; it reserves {windows}"
    )]
    NotReserved { guest: String, aperture: Aperture, windows: String },
    #[error("guest {guest}: the aperture {aperture} is not aligned to 2 MiB")]
    Unaligned { guest: String, aperture: Aperture },
    #[error("guest {guest}: the aperture {aperture} is empty, or ends behind the last address")]
    Size { guest: String, aperture: Aperture },
    #[error(
        "guest {guest}: the aperture {aperture} has {}, and no more than {} are allowed",
        in_words(aperture.size),
        in_words(*limit)
    )]
    TooLarge { guest: String, aperture: Aperture, limit: u64 },
    #[error("guest {guest}: the aperture {aperture} overlaps {what}")]
    Overlap { guest: String, aperture: Aperture, what: &'static str },
}

/// Bytes for people, rounded up to what an aperture can have.
fn in_words(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The limit as an option: bytes, or with K, M, G, T.
pub fn parse_limit(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text).ok_or_else(|| format!("{text:?} is no number of bytes"))?;
    if !(ALIGNMENT..=APERTURE_MAX).contains(&bytes) {
        return Err(format!("expected 2M to {}M", APERTURE_MAX >> 20));
    }
    Ok(bytes)
}

impl ApertureRefusal {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Ambiguous { .. } => "choose one with --aperture BASE:SIZE".to_owned(),
            Self::NoCommandLine { .. } => {
                "load the guest's driver, or give the guest a kernel= and a cmdline= in its xl file, with \
                 memmap=SIZE$BASE"
                    .to_owned()
            }
            Self::BadClaim { .. } => {
                "load the guest's driver anew, or reserve an aperture on the guest's command line".to_owned()
            }
            Self::TooLarge { aperture, .. } if aperture.size <= APERTURE_MAX => format!(
                "`--max-aperture {}` allows it, if the guest is to have so much; or have the guest reserve or claim a \
                 smaller one",
                in_words(aperture.size).replace(" MiB", "M")
            ),
            Self::TooLarge { .. } => format!(
                "have the guest reserve or claim a smaller one: `--max-aperture` can allow up to {}",
                in_words(APERTURE_MAX)
            ),
            Self::Overlap { .. } | Self::Unaligned { .. } | Self::Size { .. } => {
                "reserve another window behind the guest's memory, such as memmap=64M$0x200000000".to_owned()
            }
            Self::NoReservation { .. } | Self::NotReserved { .. } => {
                "load the guest's driver, or add memmap=SIZE$BASE to cmdline= (or extra=) in the guest's xl file \
                 and start the guest again, for example memmap=64M$0x200000000"
                    .to_owned()
            }
        }
    }
}

/// Whether the guest's command line reserves anything. If not, its driver has to claim an aperture.
pub fn reserves_any(guest: &Guest) -> bool {
    guest.command_line.as_deref().is_some_and(|line| !reservations(line).is_empty())
}

/// Where a guest's driver writes its claim.
pub fn claim_path(guest: u16) -> String {
    format!("/local/domain/{guest}/data/xenlend-aperture")
}

/// What a driver has claimed: its first frame, hexadecimal, and its pages. The guest may write anything.
fn parse_claim(text: &str) -> Option<Aperture> {
    let (gfn, pages) = text.split_once(' ')?;
    let gfn = parse_digits(gfn.strip_prefix("0x")?, 16)?;
    let bytes = |frames: u64| frames.checked_mul(1 << PAGE_SHIFT);
    Some(Aperture { address: bytes(gfn)?, size: bytes(parse_digits(pages, 10)?)? })
}

/// Chooses the aperture of this guest: what its command line reserves, `requested` of it or the only window;
/// or what its driver has claimed of the guest's free address space. Whoever has chosen it, it has `limit` bytes at
/// most.
pub fn choose(
    guest: &Guest,
    requested: Option<Aperture>,
    claim: Option<&str>,
    limit: u64,
) -> Result<Aperture, ApertureRefusal> {
    let aperture = find(guest, requested, claim)?;
    if aperture.size > limit {
        return Err(ApertureRefusal::TooLarge { guest: guest.name.clone(), aperture, limit });
    }
    Ok(aperture)
}

fn find(
    guest: &Guest,
    requested: Option<Aperture>,
    claim: Option<&str>,
) -> Result<Aperture, ApertureRefusal> {
    let name = || guest.name.clone();
    if let (false, Some(claim)) = (reserves_any(guest), claim) {
        let bad = ApertureRefusal::BadClaim { guest: name() };
        let aperture = parse_claim(claim).ok_or(bad)?;
        if let Some(requested) = requested.filter(|requested| *requested != aperture) {
            let windows = aperture.to_string();
            return Err(ApertureRefusal::NotReserved { guest: name(), aperture: requested, windows });
        }
        return check_place(guest, aperture);
    }
    let Some(command_line) = guest.command_line.as_deref() else {
        return Err(ApertureRefusal::NoCommandLine { guest: name() });
    };
    let reserved = reservations(command_line);
    let windows = || {
        let all: Vec<_> = reserved.iter().map(|s| format!("{:#x}:{:#x}", s.base, s.size)).collect();
        all.join(", ")
    };
    let aperture = match (requested, reserved.as_slice()) {
        (_, []) => {
            return Err(ApertureRefusal::NoReservation {
                guest: name(),
                command_line: command_line.to_owned(),
            })
        }
        (Some(aperture), _) => aperture,
        (None, [only]) => Aperture { address: only.base, size: only.size },
        (None, _) => return Err(ApertureRefusal::Ambiguous { guest: name(), windows: windows() }),
    };
    check_size(guest, aperture)?;
    if !reserved.iter().any(|reservation| reservation.contains(aperture.stretch())) {
        return Err(ApertureRefusal::NotReserved { guest: name(), aperture, windows: windows() });
    }
    check_place(guest, aperture)
}

fn check_size(guest: &Guest, aperture: Aperture) -> Result<(), ApertureRefusal> {
    let stretch = aperture.stretch();
    if stretch.end().is_none() || stretch.size == 0 {
        return Err(ApertureRefusal::Size { guest: guest.name.clone(), aperture });
    }
    Ok(())
}

/// Whoever has reserved it: aligned, and nothing of the guest's is there.
fn check_place(guest: &Guest, aperture: Aperture) -> Result<Aperture, ApertureRefusal> {
    let name = || guest.name.clone();
    let stretch = aperture.stretch();
    check_size(guest, aperture)?;
    if stretch.base % ALIGNMENT != 0 || stretch.size % ALIGNMENT != 0 {
        return Err(ApertureRefusal::Unaligned { guest: name(), aperture });
    }
    match occupied(guest).into_iter().find(|(taken, _)| taken.overlaps(stretch)) {
        Some((_, what)) => Err(ApertureRefusal::Overlap { guest: name(), aperture, what }),
        None => Ok(aperture),
    }
}

/// Where the guest has something already: an access there would never reach the broker.
fn occupied(guest: &Guest) -> [(Stretch, &'static str); 3] {
    let memory = guest.max_memory_bytes;
    let hole = guest.mmio_hole_start();
    let low = memory.min(hole);
    [
        (Stretch { base: 0, size: low }, "the guest's RAM"),
        (Stretch { base: hole, size: FOUR_GIB - hole }, "the devices below 4 GiB"),
        (Stretch { base: FOUR_GIB, size: memory - low }, "the guest's RAM above 4 GiB"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::guest::tests::pvh;
    use super::*;

    fn guest(command_line: &str) -> Guest {
        Guest { command_line: Some(command_line.to_owned()), ..pvh() }
    }

    /// Without a limit of the administrator's.
    fn choose(
        guest: &Guest,
        requested: Option<Aperture>,
        claim: Option<&str>,
    ) -> Result<Aperture, ApertureRefusal> {
        super::choose(guest, requested, claim, APERTURE_MAX)
    }

    fn requested(text: &str) -> Aperture {
        text.parse().unwrap()
    }

    #[test]
    fn the_only_reservation_is_the_default() {
        let aperture = choose(&guest("console=hvc0 memmap=64M$0x200000000"), None, None).unwrap();
        assert_eq!(aperture, Aperture { address: 0x2_0000_0000, size: 64 << 20 });
        assert_eq!((aperture.gfn(), aperture.pages()), (0x20_0000, 16384));
    }

    #[test]
    fn a_requested_aperture_must_lie_in_a_reservation() {
        let line = "memmap=64M$0x200000000 memmap=64M$0x300000000";
        let inside = requested("0x300200000:2M");
        assert_eq!(choose(&guest(line), Some(inside), None), Ok(inside));
        for outside in ["0x300200000:64M", "0x400000000:2M", "0x1ffe00000:4M"] {
            let result = choose(&guest(line), Some(requested(outside)), None);
            assert!(matches!(result, Err(ApertureRefusal::NotReserved { .. })), "{outside}: {result:?}");
        }
    }

    #[test]
    fn a_guest_that_reserves_nothing_or_too_much_is_refused_with_a_remedy() {
        let refusal = choose(&guest("console=hvc0"), None, None).unwrap_err();
        assert!(matches!(refusal, ApertureRefusal::NoReservation { .. }));
        assert!(refusal.remedy().contains("memmap=SIZE$BASE"));
        let refusal = choose(&guest("memmap=2M$8G,2M$16G"), None, None).unwrap_err();
        assert!(refusal.to_string().contains("0x200000000:0x200000, 0x400000000:0x200000"));
        assert!(refusal.remedy().contains("--aperture"));
        let hidden = Guest { command_line: None, ..pvh() };
        assert!(matches!(choose(&hidden, None, None), Err(ApertureRefusal::NoCommandLine { .. })));
    }

    #[test]
    fn alignment_and_size_are_checked() {
        for line in ["memmap=64M$0x200001000", "memmap=1M$0x200000000", "memmap=3M$0x200000000"] {
            let result = choose(&guest(line), None, None);
            assert!(matches!(result, Err(ApertureRefusal::Unaligned { .. })), "{line}: {result:?}");
        }
        let result = choose(&guest("memmap=2M$8G"), Some(requested("8G:0")), None);
        assert!(matches!(result, Err(ApertureRefusal::Size { .. })), "{result:?}");
    }

    #[test]
    fn ram_and_devices_of_the_guest_are_no_place_for_it() {
        let what = |guest: &Guest| match choose(guest, None, None) {
            Err(ApertureRefusal::Overlap { what, .. }) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(what(&guest("memmap=2M$64M")), "the guest's RAM");
        assert_eq!(what(&guest("memmap=64M$0xFC000000")), "the devices below 4 GiB");
        let large = Guest { max_memory_bytes: 5 << 30, ..guest("memmap=64M$0x100000000") };
        assert_eq!(what(&large), "the guest's RAM above 4 GiB");
        assert!(choose(&guest("memmap=64M$0x100000000"), None, None).is_ok());
        assert!(choose(&guest("memmap=64M$0x80000000"), None, None).is_ok());
    }

    #[test]
    fn the_option_is_base_and_size() {
        assert_eq!(requested("4G:64M"), Aperture { address: 1 << 32, size: 64 << 20 });
        for text in ["", "4G", "4G:", ":64M", "4G:64M:1", "four:1"] {
            assert!(text.parse::<Aperture>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_driver_may_claim_what_the_command_line_does_not_reserve() {
        let free = guest("console=hvc0");
        let claimed = |text: &str| choose(&free, None, Some(text));
        let expected = Aperture { address: 0x40_0000_0000, size: 256 << 20 };
        assert_eq!(claimed("0x4000000 65536"), Ok(expected));
        let hidden = Guest { command_line: None, ..pvh() };
        assert_eq!(choose(&hidden, None, Some("0x4000000 65536")), Ok(expected));
        assert_eq!(choose(&free, Some(expected), Some("0x4000000 65536")), Ok(expected));
        let other = choose(&free, Some(requested("8G:2M")), Some("0x4000000 65536"));
        assert!(matches!(other, Err(ApertureRefusal::NotReserved { .. })), "{other:?}");
        for text in [
            "",
            "0x",
            "0x4000000",
            "4000000 65536",
            "0x4000000 -1",
            "0x4000000 +1",
            "0x4000000  65536",
            "0x4000000 65536 ",
            "0xffffffffffffffff 512",
            "0x4000000 0x200",
        ] {
            assert!(matches!(claimed(text), Err(ApertureRefusal::BadClaim { .. })), "{text:?}");
        }
        // Its own memory and its devices; odd places and sizes.
        let refused = |text| claimed(text).unwrap_err();
        assert!(matches!(refused("0x0 512"), ApertureRefusal::Overlap { .. }));
        assert!(matches!(refused("0xfc000 512"), ApertureRefusal::Overlap { .. }));
        assert!(matches!(refused("0x4000001 512"), ApertureRefusal::Unaligned { .. }));
        assert!(matches!(refused("0x4000000 1"), ApertureRefusal::Unaligned { .. }));
        assert!(matches!(refused("0x4000000 0"), ApertureRefusal::Size { .. }));
        // The administrator's reservation is not the guest's to change.
        let line = guest("memmap=64M$0x200000000");
        assert_eq!(choose(&line, None, Some("0x4000000 65536")).unwrap().address, 0x2_0000_0000);
    }

    #[test]
    fn nobody_has_an_aperture_above_the_limit() {
        let (claims, line) = (guest("console=hvc0"), guest("memmap=2G$0x200000000"));
        let refused = |guest: &Guest, claim: Option<&str>, limit| {
            let refusal = super::choose(guest, None, claim, limit).unwrap_err();
            assert!(matches!(refusal, ApertureRefusal::TooLarge { .. }), "{refusal}");
            (refusal.to_string(), refusal.remedy())
        };
        // 127 GiB, 16 TiB, and a page more than there are numbers.
        for pages in ["33292288", "4294967296", "4294967808"] {
            for limit in [1 << 30, APERTURE_MAX] {
                let claim = format!("0x4000000 {pages}");
                let (text, remedy) = refused(&claims, Some(&claim), limit);
                assert!(text.contains(&format!("no more than {} MiB", limit >> 20)), "{text}");
                assert!(remedy.contains("smaller") && remedy.contains("65536 MiB"), "{remedy}");
            }
        }
        let (text, remedy) = refused(&line, None, 1 << 30);
        assert!(text.contains("has 2048 MiB, and no more than 1024 MiB"), "{text}");
        assert!(remedy.contains("`--max-aperture 2048M`"), "{remedy}");
        let part = Some(requested("8G:1G"));
        assert_eq!(super::choose(&line, part, None, 1 << 30).map(|aperture| aperture.size), Ok(1 << 30));
        assert_eq!(super::choose(&line, None, None, 2 << 30).map(|aperture| aperture.size), Ok(2 << 30));
    }

    #[test]
    fn the_limit_is_a_number_of_bytes_that_the_module_allows() {
        assert_eq!(
            (parse_limit("1G"), parse_limit("64G"), parse_limit("2M")),
            (Ok(1 << 30), Ok(64 << 30), Ok(2 << 20))
        );
        for text in ["", "0", "1M", "65537M", "16T", "x"] {
            assert!(parse_limit(text).is_err(), "{text}");
        }
    }
}
