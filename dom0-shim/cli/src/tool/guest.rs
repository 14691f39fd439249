// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xl knows of a guest, and whether the guest can borrow.
//!
//! The source is `xl list -l`: dom0's own record, which no guest can write.

use serde_json::Value;
use thiserror::Error;

use super::identity::{Identity, Uuid};

/// Start of the devices below 4 GiB in a PVH guest (libxl puts the ACPI tables there).
const PVH_HOLE: u64 = 0xFC00_0000;
/// The same in an HVM guest, if its xl file does not say otherwise.
const HVM_HOLE: u64 = 0xF000_0000;
const FOUR_GIB: u64 = 1 << 32;

/// Kind of domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hardware-assisted without a device model.
    Pvh,
    /// Hardware-assisted with one.
    Hvm,
    /// Paravirtual: no second-stage translation.
    Pv,
}

/// The guest as xl has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its domain id.
    pub domid: u16,
    /// Its UUID.
    pub uuid: Uuid,
    /// Its kind.
    pub kind: Kind,
    /// Virtual CPUs that it can have.
    pub vcpus: u32,
    /// The most memory that it can have, in bytes.
    pub max_memory_bytes: u64,
    /// Size of the hole below 4 GiB in bytes, if its xl file sets it.
    pub mmio_hole_bytes: Option<u64>,
    /// Kernel command line, if xl loads its kernel.
    pub command_line: Option<String>,
    /// What about it rules out lending.
    pub obstacles: Vec<Obstacle>,
}

/// A setting of a guest that Xen cannot combine with lending; a lend-aware one only the last three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// It has host devices: they could reach lent memory by DMA.
    Passthrough,
    /// Nested virtualisation: shadowed copies of the second-stage entries.
    NestedHvm,
    /// Alternate second-stage tables: entries are copied.
    Altp2m,
    /// Shadow paging instead of hardware-assisted paging.
    NoHap,
}

/// Why a guest cannot borrow.
#[derive(Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum GuestRefusal {
    #[error(
        "guest {0} is a PV guest: memory is lent through the second-stage translation, which PV guests lack"
    )]
    Pv(String),
    #[error("guest {0} has host devices or passthrough=: they could reach lent memory by DMA")]
    Passthrough(String),
    #[error("guest {0} has nested virtualisation, which keeps copies of second-stage entries")]
    NestedHvm(String),
    #[error("guest {0} has altp2m, which keeps copies of second-stage entries")]
    Altp2m(String),
    #[error("guest {0} runs with shadow paging; lending needs hardware-assisted paging")]
    NoHap(String),
    #[error("domain {0} is dom0: it lends, it does not borrow")]
    Dom0(String),
}

impl GuestRefusal {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Pv(_) => "set type=\"pvh\" in the guest's xl file and start it again",
            Self::Passthrough(_) => {
                "remove pci= and passthrough= from the guest's xl file and start it again"
            }
            Self::NestedHvm(_) => "remove nestedhvm= from the guest's xl file and start it again",
            Self::Altp2m(_) => "remove altp2m= from the guest's xl file and start it again",
            Self::NoHap(_) => "remove hap=0 from the guest's xl file and start it again",
            Self::Dom0(_) => "name a guest; `xl list` shows them",
        }
    }
}

/// What `xl list -l` printed is not what this program expects.
#[derive(Debug, Error)]
#[error("cannot make sense of what `xl list -l` printed: {0}")]
pub struct Unreadable(String);

impl Guest {
    /// Which domain it is.
    pub fn identity(&self) -> Identity {
        Identity { domid: self.domid, uuid: self.uuid }
    }

    /// Whether it can borrow. A lend-aware Xen keeps what is lent from the guest's devices by itself.
    pub fn check(&self, lend_aware: bool) -> Result<(), GuestRefusal> {
        let name = self.name.clone();
        if self.domid == 0 {
            return Err(GuestRefusal::Dom0(name));
        }
        if self.kind == Kind::Pv {
            return Err(GuestRefusal::Pv(name));
        }
        let counts = |obstacle: &&Obstacle| !(lend_aware && **obstacle == Obstacle::Passthrough);
        match self.obstacles.iter().find(counts) {
            None => Ok(()),
            Some(Obstacle::Passthrough) => Err(GuestRefusal::Passthrough(name)),
            Some(Obstacle::NestedHvm) => Err(GuestRefusal::NestedHvm(name)),
            Some(Obstacle::Altp2m) => Err(GuestRefusal::Altp2m(name)),
            Some(Obstacle::NoHap) => Err(GuestRefusal::NoHap(name)),
        }
    }

    /// First address of the devices below 4 GiB.
    pub fn mmio_hole_start(&self) -> u64 {
        match (self.kind, self.mmio_hole_bytes) {
            (Kind::Hvm, Some(size)) => FOUR_GIB.saturating_sub(size),
            (Kind::Hvm, None) => HVM_HOLE,
            _ => PVH_HOLE,
        }
    }
}

/// Reads the output of `xl list -l NAME`. `None`: xl has no configuration of that domain, so it is dying.
pub fn parse(json: &str) -> Result<Option<Guest>, Unreadable> {
    let bad = |what: &str| Unreadable(what.to_owned());
    let value: Value = serde_json::from_str(json).map_err(|error| Unreadable(error.to_string()))?;
    let domains = value.as_array().ok_or_else(|| bad("no array"))?;
    let Some(domain) = domains.first() else { return Ok(None) };
    let config = &domain["config"];
    let (create, build) = (&config["c_info"], &config["b_info"]);
    let kind = match create["type"].as_str() {
        Some("pvh") => Kind::Pvh,
        Some("hvm") => Kind::Hvm,
        Some("pv") => Kind::Pv,
        other => return Err(Unreadable(format!("unknown type of domain {other:?}"))),
    };
    let domid = domain["domid"].as_u64().and_then(|id| u16::try_from(id).ok());
    let memory_kib = build["max_memkb"].as_u64().ok_or_else(|| bad("no max_memkb"))?;
    let hole_kib = build["type.hvm"]["mmio_hole_memkb"].as_u64().filter(|kib| *kib != 0 && *kib != u64::MAX);
    Ok(Some(Guest {
        name: create["name"].as_str().ok_or_else(|| bad("no name"))?.to_owned(),
        domid: domid.ok_or_else(|| bad("no domid"))?,
        uuid: create["uuid"].as_str().and_then(|uuid| uuid.parse().ok()).ok_or_else(|| bad("no uuid"))?,
        kind,
        // xl leaves out what has its default value.
        vcpus: build["max_vcpus"].as_u64().and_then(|count| u32::try_from(count).ok()).unwrap_or(1),
        max_memory_bytes: memory_kib.saturating_mul(1024),
        mmio_hole_bytes: hole_kib.map(|kib| kib.saturating_mul(1024)),
        command_line: build["cmdline"].as_str().map(str::to_owned),
        obstacles: obstacles(config),
    }))
}

fn obstacles(config: &Value) -> Vec<Obstacle> {
    let (create, build) = (&config["c_info"], &config["b_info"]);
    let is = |value: &Value, text: &str| value.as_str() == Some(text);
    let has_list = |key: &str| config[key].as_array().is_some_and(|list| !list.is_empty());
    let mut found = Vec::new();
    let passthrough = &create["passthrough"];
    let shares = !passthrough.is_null() && !is(passthrough, "disabled") && !is(passthrough, "unknown");
    if has_list("pcidevs") || has_list("dtdevs") || shares {
        found.push(Obstacle::Passthrough);
    }
    let nested = &build["nested_hvm"];
    if is(nested, "True") || is(&build["type.hvm"]["nested_hvm"], "True") {
        found.push(Obstacle::NestedHvm);
    }
    let altp2m = &build["altp2m"];
    if !(altp2m.is_null() || is(altp2m, "disabled")) || is(&build["type.hvm"]["altp2m"], "True") {
        found.push(Obstacle::Altp2m);
    }
    if is(&create["hap"], "False") {
        found.push(Obstacle::NoHap);
    }
    found
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A UUID that ends in this number.
    pub fn uuid(number: u16) -> Uuid {
        format!("00000000-0000-0000-0000-00000000{number:04x}").parse().unwrap()
    }

    /// A guest that can borrow.
    pub fn pvh() -> Guest {
        Guest {
            name: "g1".to_owned(),
            domid: 7,
            uuid: uuid(7),
            kind: Kind::Pvh,
            vcpus: 2,
            max_memory_bytes: 256 << 20,
            mmio_hole_bytes: None,
            command_line: Some("console=hvc0 memmap=64M$0x200000000".to_owned()),
            obstacles: Vec::new(),
        }
    }

    fn json(c_info: &str, b_info: &str, rest: &str) -> String {
        format!(
            r#"[ {{ "domid": 7, "config": {{
                "c_info": {{ "name": "g1", "uuid": "00000000-0000-0000-0000-000000000007", "run_hotplug_scripts": "True", {c_info} }},
                "b_info": {{ "max_vcpus": 2, "avail_vcpus": [0, 1], "max_memkb": 262144,
                    "cmdline": "console=hvc0 memmap=64M$0x200000000", {b_info} }}
                {rest}, "on_reboot": "restart" }} }} ]"#
        )
    }

    const PVH_BUILD: &str = r#""altp2m": "disabled", "type.pvh": { }"#;
    const PVH_CREATE: &str = r#""type": "pvh", "hap": "True", "passthrough": "disabled""#;

    #[test]
    fn a_plain_guest_is_read_whole_and_can_borrow() {
        let guest = parse(&json(PVH_CREATE, PVH_BUILD, "")).unwrap().unwrap();
        assert_eq!(guest, pvh());
        assert_eq!(guest.check(false), Ok(()));
    }

    #[test]
    fn defaults_that_xl_leaves_out_are_known() {
        let text = r#"[{"domid": 3, "config": {"c_info": {"type": "pvh", "name": "a",
                       "uuid": "00000000-0000-0000-0000-000000000003"},
                       "b_info": {"max_memkb": 1024, "type.pvh": {}}}}]"#;
        let guest = parse(text).unwrap().unwrap();
        assert_eq!((guest.vcpus, guest.command_line.clone()), (1, None));
        assert_eq!(guest.check(false), Ok(()));
    }

    #[test]
    fn what_xl_of_xen_4_20_prints_is_understood() {
        let guest = parse(include_str!("../../tests/xl-list-4.20.json")).unwrap().unwrap();
        assert_eq!((guest.name.as_str(), guest.domid, guest.kind), ("g1", 1, Kind::Pvh));
        assert_eq!(guest.uuid.to_string(), "8d1de4e8-f136-4617-9880-191990aba82b");
        assert_eq!((guest.vcpus, guest.max_memory_bytes), (1, 256 << 20));
        assert!(guest.command_line.as_deref().unwrap().contains("memmap=256M$0x1000000000"));
        assert_eq!(guest.check(false), Ok(()));
    }

    #[test]
    fn a_domain_without_configuration_is_dying() {
        assert_eq!(parse("[\n\n]\n").unwrap(), None);
    }

    #[test]
    fn every_obstacle_is_named() {
        let checked = |c: &str, b: &str, rest: &str| {
            parse(&json(c, b, rest)).unwrap().unwrap().check(false).unwrap_err()
        };
        let name = || "g1".to_owned();
        assert_eq!(checked(r#""type": "pv""#, r#""type.pv": {}"#, ""), GuestRefusal::Pv(name()));
        let devices = r#", "pcidevs": [ { "bus": 1 } ]"#;
        assert_eq!(checked(PVH_CREATE, PVH_BUILD, devices), GuestRefusal::Passthrough(name()));
        let shared = r#""type": "pvh", "passthrough": "sync_pt""#;
        assert_eq!(checked(shared, PVH_BUILD, ""), GuestRefusal::Passthrough(name()));
        let nested = r#""nested_hvm": "True", "type.pvh": {}"#;
        assert_eq!(checked(PVH_CREATE, nested, ""), GuestRefusal::NestedHvm(name()));
        let altp2m = r#""altp2m": "external", "type.pvh": {}"#;
        assert_eq!(checked(PVH_CREATE, altp2m, ""), GuestRefusal::Altp2m(name()));
        let shadow = r#""type": "pvh", "hap": "False""#;
        assert_eq!(checked(shadow, PVH_BUILD, ""), GuestRefusal::NoHap(name()));
        assert_eq!(Guest { domid: 0, ..pvh() }.check(false), Err(GuestRefusal::Dom0(name())));
    }

    #[test]
    fn the_hole_below_four_gib_depends_on_the_kind() {
        assert_eq!(pvh().mmio_hole_start(), 0xFC00_0000);
        let hvm = Guest { kind: Kind::Hvm, ..pvh() };
        assert_eq!(hvm.mmio_hole_start(), 0xF000_0000);
        let text = json(r#""type": "hvm""#, r#""type.hvm": { "mmio_hole_memkb": 1048576 }"#, "");
        assert_eq!(parse(&text).unwrap().unwrap().mmio_hole_start(), 0xC000_0000);
    }

    #[test]
    fn nonsense_is_an_error_and_no_panic() {
        for text in ["", "{}", "[{}]", "[{\"domid\": 1}]", "null", "[1]", "[{\"domid\": 70000}]"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
