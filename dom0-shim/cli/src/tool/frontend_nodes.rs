// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xenstore nodes through which a guest's frontend finds its backend, and what the guest claims there.
//!
//! The frontend's nodes are the guest's: whatever is read there is a claim, read once and checked here.
//! The backend's nodes are dom0's; the guest can only read them.

use xenlend::FrontendRings;

use super::aperture::Aperture;
use super::nodes::{Access, Node};

/// The one version of these nodes.
const PROTOCOL: &str = "1";
/// Ports of a domain with the larger of Xen's two interfaces.
const PORTS: u32 = 1 << 17;

/// Both sides of one frontend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrontendNodes {
    /// The guest's domain.
    pub guest: u16,
    /// The broker's.
    pub broker: u16,
}

/// Why a frontend is not connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nonsense {
    /// A state that no frontend has, or none, or one out of turn.
    State,
    /// A node is missing, or holds no such number.
    Node(&'static str),
    /// Two grants are the same.
    SameGrant,
    /// Another aperture than the tool has found.
    Aperture,
}

impl Nonsense {
    /// For people. Nothing that the guest wrote is in it.
    pub fn text(self) -> String {
        match self {
            Self::State => "its state is none that it may have now".to_owned(),
            Self::Node(name) => format!("{name} is missing or holds nothing that it may hold"),
            Self::SameGrant => "one grant is named twice".to_owned(),
            Self::Aperture => "it names another aperture than the backend".to_owned(),
        }
    }
}

impl FrontendNodes {
    /// The guest's folder.
    pub fn frontend(self) -> String {
        format!("/local/domain/{}/device/xenlend/0", self.guest)
    }

    /// The folder of the guest's frontends, which is dom0's.
    pub fn frontend_folder(self) -> String {
        format!("/local/domain/{}/device/xenlend", self.guest)
    }

    /// The backend's folder.
    pub fn backend(self) -> String {
        format!("/local/domain/{}/backend/xenlend/{}/0", self.broker, self.guest)
    }

    /// Everything that a guest's driver finds at first. The guest's bus looks when `state` is
    /// written, so that comes last.
    pub fn nodes(self, aperture: Aperture) -> Vec<Node> {
        let (frontend, backend) = (self.frontend(), self.backend());
        let ours = |name: &str, value: String| Node {
            path: format!("{backend}{name}"),
            value,
            access: Access::ReadableBy(self.guest),
        };
        let theirs = |name: &str, value: String| Node {
            path: format!("{frontend}{name}"),
            value,
            access: Access::Shared { owner: self.guest, reader: self.broker },
        };
        vec![
            ours("", String::new()),
            ours("/frontend", frontend.clone()),
            ours("/frontend-id", self.guest.to_string()),
            ours("/online", "1".to_owned()),
            ours("/aperture-gfn", format!("{:#x}", aperture.gfn())),
            ours("/aperture-pages", aperture.pages().to_string()),
            ours("/state", INIT_WAIT.to_string()),
            Node {
                path: self.frontend_folder(),
                value: String::new(),
                access: Access::ReadableBy(self.guest),
            },
            theirs("", String::new()),
            theirs("/backend", backend.clone()),
            theirs("/backend-id", self.broker.to_string()),
            theirs("/state", INITIALISING.to_string()),
        ]
    }

    /// A node of the backend.
    pub fn backend_node(self, name: &str, value: String) -> Node {
        Node { path: format!("{}/{name}", self.backend()), value, access: Access::ReadableBy(self.guest) }
    }
}

/// `enum xenbus_state`: made, nothing else.
pub const INITIALISING: u32 = 1;
/// The backend waits for the frontend.
pub const INIT_WAIT: u32 = 2;
/// The frontend has named its grants and its port.
pub const INITIALISED: u32 = 3;
/// Both work.
pub const CONNECTED: u32 = 4;
/// One wants to end it.
pub const CLOSING: u32 = 5;
/// Ended: nothing is mapped or bound.
pub const CLOSED: u32 = 6;

/// The state that a node claims, if it is one that a frontend has.
pub fn parse_state(value: Option<&str>) -> Option<u32> {
    let state = value.and_then(decimal)?;
    (INITIALISING..=CLOSED).contains(&state).then_some(state)
}

/// What the guest claims, each node read once by `read`.
///
/// # Errors
/// What is wrong with it; or what `read` says.
pub fn read_claims<E>(
    aperture: Aperture,
    mut read: impl FnMut(&'static str) -> Result<Option<String>, E>,
) -> Result<Result<FrontendRings, Nonsense>, E> {
    let names = ["protocol", "ring-ref-0", "ring-ref-1", "ring-ref-2", "event-channel"];
    let mut values = Vec::new();
    for name in names.into_iter().chain(["aperture-gfn", "aperture-pages"]) {
        values.push((name, read(name)?));
    }
    Ok(check_claims(aperture, &values))
}

fn check_claims(
    aperture: Aperture,
    values: &[(&'static str, Option<String>)],
) -> Result<FrontendRings, Nonsense> {
    let text = |wanted: &'static str| {
        let found = values.iter().find(|(name, _)| *name == wanted);
        found.and_then(|(_, value)| value.as_deref()).ok_or(Nonsense::Node(wanted))
    };
    let number = |name| text(name).and_then(|text| decimal(text).ok_or(Nonsense::Node(name)));
    if text("protocol")? != PROTOCOL {
        return Err(Nonsense::Node("protocol"));
    }
    let ring_refs = [number("ring-ref-0")?, number("ring-ref-1")?, number("ring-ref-2")?];
    let [control, to_borrower, from_borrower] = ring_refs;
    if control == to_borrower || control == from_borrower || to_borrower == from_borrower {
        return Err(Nonsense::SameGrant);
    }
    let event_channel = number("event-channel")?;
    if event_channel == 0 || event_channel >= PORTS {
        return Err(Nonsense::Node("event-channel"));
    }
    let gfn = text("aperture-gfn")?.strip_prefix("0x").and_then(|digits| parse_digits(digits, 16));
    let gfn = gfn.ok_or(Nonsense::Node("aperture-gfn"))?;
    if gfn != aperture.gfn() || u64::from(number("aperture-pages")?) != aperture.pages() {
        return Err(Nonsense::Aperture);
    }
    Ok(FrontendRings { ring_refs, event_channel })
}

fn decimal(text: &str) -> Option<u32> {
    u32::try_from(parse_digits(text, 10)?).ok()
}

/// A number of digits only: no sign, no blank.
pub fn parse_digits(text: &str, radix: u32) -> Option<u64> {
    let clean = !text.is_empty() && text.chars().all(|digit| digit.is_digit(radix));
    clean.then(|| u64::from_str_radix(text, radix).ok())?
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use super::*;

    const APERTURE: Aperture = Aperture { address: 0x2_0000_0000, size: 64 << 20 };

    fn claims() -> BTreeMap<&'static str, String> {
        [
            ("protocol", "1"),
            ("ring-ref-0", "8"),
            ("ring-ref-1", "9"),
            ("ring-ref-2", "4294967295"),
            ("event-channel", "17"),
            ("aperture-gfn", "0x200000"),
            ("aperture-pages", "16384"),
        ]
        .into_iter()
        .map(|(name, value)| (name, value.to_owned()))
        .collect()
    }

    fn check(claims: &BTreeMap<&'static str, String>) -> Result<FrontendRings, Nonsense> {
        let mut asked = Vec::new();
        let result = read_claims(APERTURE, |name| {
            asked.push(name);
            Ok::<_, Infallible>(claims.get(name).cloned())
        });
        asked.sort_unstable();
        let before = asked.len();
        asked.dedup();
        assert_eq!(before, asked.len(), "a node was read twice");
        result.unwrap()
    }

    #[test]
    fn a_good_frontend_is_understood() {
        let rings = FrontendRings { ring_refs: [8, 9, u32::MAX], event_channel: 17 };
        assert_eq!(check(&claims()), Ok(rings));
    }

    #[test]
    fn every_bad_claim_is_refused_with_its_node() {
        for name in claims().into_keys() {
            for bad in ["", " 1", "-1", "+1", "4294967296", "99999999999999999999999", "1\n", "\u{661}", "x"]
            {
                let mut claims = claims();
                claims.insert(name, bad.to_owned());
                assert_eq!(check(&claims), Err(Nonsense::Node(name)), "{name} = {bad:?}");
            }
            let mut claims = claims();
            claims.remove(name);
            assert_eq!(check(&claims), Err(Nonsense::Node(name)), "no {name}");
        }
        let other = |name, value: &str, nonsense| {
            let mut claims = claims();
            claims.insert(name, value.to_owned());
            assert_eq!(check(&claims), Err(nonsense), "{name} = {value}");
        };
        other("protocol", "2", Nonsense::Node("protocol"));
        other("event-channel", "0", Nonsense::Node("event-channel"));
        other("event-channel", "131072", Nonsense::Node("event-channel"));
        other("ring-ref-1", "8", Nonsense::SameGrant);
        other("ring-ref-2", "8", Nonsense::SameGrant);
        other("ring-ref-2", "9", Nonsense::SameGrant);
        other("aperture-gfn", "0x200001", Nonsense::Aperture);
        other("aperture-gfn", "0x10000000000200000", Nonsense::Node("aperture-gfn"));
        other("aperture-gfn", "200000", Nonsense::Node("aperture-gfn"));
        other("aperture-pages", "16385", Nonsense::Aperture);
    }

    #[test]
    fn only_states_of_a_frontend_are_states() {
        for state in 1..=6 {
            assert_eq!(parse_state(Some(&state.to_string())), Some(state));
        }
        for nonsense in [None, Some(""), Some("0"), Some("7"), Some("8"), Some("4 "), Some("-1"), Some("x")] {
            assert_eq!(parse_state(nonsense), None, "{nonsense:?}");
        }
    }

    #[test]
    fn each_side_writes_its_own_nodes_only_and_the_guests_bus_finds_a_whole_device() {
        let nodes = FrontendNodes { guest: 7, broker: 8 }.nodes(APERTURE);
        for node in &nodes {
            let permissions = node.access.permissions();
            let expected: &[&str] = if node.path.starts_with("/local/domain/7/device/xenlend/0") {
                &["n7", "r8"]
            } else {
                &["n0", "r7"]
            };
            assert_eq!(permissions, expected, "{}", node.path);
        }
        let last = nodes.last().unwrap();
        assert_eq!(
            (last.path.as_str(), last.value.as_str()),
            ("/local/domain/7/device/xenlend/0/state", "1")
        );
        let value = |path: &str| nodes.iter().find(|node| node.path == path).unwrap().value.as_str();
        let backend = "/local/domain/8/backend/xenlend/7/0";
        assert_eq!(value("/local/domain/7/device/xenlend/0/backend"), backend);
        assert_eq!(value("/local/domain/7/device/xenlend/0/backend-id"), "8");
        assert_eq!(value(&format!("{backend}/frontend")), "/local/domain/7/device/xenlend/0");
        assert_eq!(value(&format!("{backend}/frontend-id")), "7");
        assert_eq!(value(&format!("{backend}/aperture-gfn")), "0x200000");
        assert_eq!(value(&format!("{backend}/aperture-pages")), "16384");
        assert_eq!(value(&format!("{backend}/state")), "2");
    }
}
