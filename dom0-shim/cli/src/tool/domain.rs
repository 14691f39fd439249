// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a domain lives, and whether one of its vCPUs is stuck: the tables that xl prints.

use std::str::FromStr;

use super::identity::{Domain, Identity, Uuid};

/// A domain's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs, or waits for something.
    Alive,
    /// It exists and is held by xl or by the module.
    Paused,
    /// It has crashed and is kept.
    Crashed,
    /// It has shut itself down and is kept.
    ShutDown,
    /// It is being destroyed; something still holds pages of it.
    Dying,
    /// There is no such domain.
    Gone,
}

impl Life {
    /// Whether it exists and can come to life: neither dying nor gone.
    pub fn exists(self) -> bool {
        !matches!(self, Self::Dying | Self::Gone)
    }

    /// Whether it can run code, now or when unpaused.
    pub fn can_run(self) -> bool {
        matches!(self, Self::Alive | Self::Paused)
    }

    /// One stable word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Paused => "paused",
            Self::Crashed => "crashed",
            Self::ShutDown => "shut-down",
            Self::Dying => "dying",
            Self::Gone => "gone",
        }
    }
}

/// Reads what `xl list -v` prints: Name, ID, Mem, VCPUs, State, Time, UUID and more. The name may hold anything, so
/// the last field that is a UUID is looked for, and the others are counted from there.
pub fn parse_domains(table: &str) -> Vec<Domain> {
    table.lines().filter_map(parse_domain).collect()
}

fn parse_domain(line: &str) -> Option<Domain> {
    let mut rest = line;
    let mut fields = Vec::new();
    // From the right; each with what stands before it.
    while let Some(field) = rest.split_whitespace().next_back() {
        rest = rest.trim_end().strip_suffix(field)?;
        fields.push((field, rest));
    }
    let at = fields.iter().position(|(field, _)| Uuid::from_str(field).is_ok())?;
    let [(uuid, _), _time, (state, _), _vcpus, _memory, (id, name)] = fields.get(at..at + 6)? else {
        return None;
    };
    let life = match state.as_bytes() {
        [_, _, _, _, _, b'd'] => Life::Dying,
        [_, _, _, b's', b'c', _] => Life::Crashed,
        [_, _, _, b's', _, _] => Life::ShutDown,
        [_, _, b'p', _, _, _] => Life::Paused,
        [_, _, _, _, _, _] => Life::Alive,
        _ => return None,
    };
    let identity = Identity { domid: id.parse().ok()?, uuid: uuid.parse().ok()? };
    Some(Domain { identity, name: name.trim_end().to_owned(), life })
}

/// One line of `xl vcpu-list`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Its number.
    pub id: u32,
    /// Online, not running and not blocked by its own wish: it waits in Xen or for a processor.
    pub waits: bool,
    /// Processor time so far, as printed.
    pub time: String,
}

/// Reads the lines of domain `domid` in what `xl vcpu-list` prints: ID, VCPU, CPU, State, Time and the
/// affinity, which ends in "HARD / SOFT".
pub fn parse_vcpus(table: &str, domid: u16) -> Vec<Vcpu> {
    let lines = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // The name comes first and may hold spaces; the time is the only number with a point.
        let state = fields.iter().rposition(|field| is_vcpu_state(field))?;
        let id = fields.get(state.checked_sub(3)?)?;
        let vcpu = fields.get(state.checked_sub(2)?)?.parse().ok()?;
        let time = (*fields.get(state + 1)?).to_owned();
        (id.parse() == Ok(domid)).then(|| Vcpu { id: vcpu, waits: fields[state] == "---", time })
    });
    lines.collect()
}

fn is_vcpu_state(field: &str) -> bool {
    matches!(field.as_bytes(), [b'r' | b'-', b'b' | b'-', b'-' | b'p'])
}

/// The vCPUs that waited in both samples and got no processor time in between.
///
/// A vCPU whose access nobody answers looks so for ever; one that only waits for a processor
/// looks so for as long as the host is busy.
pub fn waiting_throughout(before: &[Vcpu], after: &[Vcpu]) -> Vec<u32> {
    after.iter().filter(|vcpu| vcpu.waits && before.contains(vcpu)).map(|vcpu| vcpu.id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
Name                                        ID   Mem VCPUs\tState\tTime(s)   UUID                            Reason-Code\tSecurity Label
Domain-0                                     0  1024     1     r-----      21.5 00000000-0000-0000-0000-000000000000        -                -
g1                                           1   256     2     -b----       4.0 00000000-0000-0000-0000-000000000001        -                -
my guest 5                                   5   256     2     --p---       4.0 00000000-0000-0000-0000-000000000005        -                -
crashed                                      6   256     2     ---sc-       4.0 00000000-0000-0000-0000-000000000006        3                -
off                                          8    16     1     ---s--       0.1 00000000-0000-0000-0000-000000000008        0 system_u:system_r:domU_t
(null)                                       9     0     1     --psrd       0.3 00000000-0000-0000-0000-000000000009        1                -
a 7 256 2 -b---- 1.0 00000000-0000-0000-0000-00000000000f        10   256     2     -b----       4.0 00000000-0000-0000-0000-00000000000a        -                -
";

    #[test]
    fn each_domain_has_a_number_a_uuid_a_name_and_a_life() {
        let found = parse_domains(LIST);
        let expected = [
            (0, "Domain-0", Life::Alive),
            (1, "g1", Life::Alive),
            (5, "my guest 5", Life::Paused),
            (6, "crashed", Life::Crashed),
            (8, "off", Life::ShutDown),
            (9, "(null)", Life::Dying),
            (10, "a 7 256 2 -b---- 1.0 00000000-0000-0000-0000-00000000000f", Life::Alive),
        ];
        assert_eq!(found.len(), expected.len());
        for (domain, (domid, name, life)) in found.iter().zip(expected) {
            let uuid = format!("00000000-0000-0000-0000-0000000000{domid:02x}").parse().unwrap();
            assert_eq!(domain.identity, Identity { domid, uuid });
            assert_eq!((domain.name.as_str(), domain.life), (name, life));
        }
        assert_eq!(parse_domains(""), []);
        assert_eq!(parse_domains("g1 1 256 2 -b---- 4.0"), [], "what an xl prints that shows no UUID");
    }

    const VCPUS: &str = "\
Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)
g1                                   1     0    0   ---      12.3  all / all
g1                                   1     1    0   -b-       0.4  all / all
g1                                   1     2    -   --p       0.0  all / all
";

    #[test]
    fn only_a_vcpu_that_waits_without_time_passing_is_stuck() {
        let before = parse_vcpus(VCPUS, 1);
        assert_eq!(before.len(), 3);
        assert_eq!(before.iter().map(|vcpu| vcpu.waits).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(waiting_throughout(&before, &before), [0]);
        let ran = parse_vcpus(&VCPUS.replace("12.3", "12.4"), 1);
        assert_eq!(waiting_throughout(&before, &ran), [0_u32; 0]);
        let blocked = parse_vcpus(&VCPUS.replace("---  ", "-b-  "), 1);
        assert_eq!(waiting_throughout(&before, &blocked), [0_u32; 0]);
        assert_eq!(parse_vcpus(VCPUS, 2), []);
    }
}
