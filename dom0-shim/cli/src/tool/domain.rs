// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a domain lives, and whether one of its vCPUs is stuck: the tables that xl prints.

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

/// Reads the line of domain `domid` in what `xl list` prints. The name may hold anything, so fields are
/// counted from the right: ID, Mem, VCPUs, State, Time.
pub fn parse_life(table: &str, domid: u16) -> Life {
    let state = table.lines().find_map(|line| {
        let mut fields = line.split_whitespace().rev();
        let (_time, state) = (fields.next()?, fields.next()?);
        let id = fields.nth(2)?;
        (id.parse() == Ok(domid) && state.len() == 6).then_some(state)
    });
    match state.map(str::as_bytes) {
        None => Life::Gone,
        Some([.., b'd']) => Life::Dying,
        Some([_, _, _, b's', b'c', _]) => Life::Crashed,
        Some([_, _, _, b's', ..]) => Life::ShutDown,
        Some([_, _, b'p', ..]) => Life::Paused,
        Some(_) => Life::Alive,
    }
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
Name                                        ID   Mem VCPUs\tState\tTime(s)
Domain-0                                     0  1024     1     r-----      21.5
g1                                           1   256     2     -b----       4.0
my guest 5                                   5   256     2     --p---       4.0
crashed                                      6   256     2     ---sc-       4.0
off                                          8    16     1     ---s--       0.1
(null)                                       9     0     1     --psrd       0.3
";

    #[test]
    fn life_is_read_from_the_state_column() {
        let life = |domid| parse_life(LIST, domid);
        assert_eq!(life(1), Life::Alive);
        assert_eq!(life(5), Life::Paused);
        assert_eq!(life(6), Life::Crashed);
        assert_eq!(life(8), Life::ShutDown);
        assert_eq!(life(9), Life::Dying);
        assert_eq!(life(2), Life::Gone);
        assert_eq!(life(256), Life::Gone, "the memory column is no id");
        assert_eq!(parse_life("", 1), Life::Gone);
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
