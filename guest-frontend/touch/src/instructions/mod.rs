// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every kind of memory instruction on pages that were revoked a moment ago. Each is run twice from
//! the same start, on lent memory and on a model in RAM: registers, the memory and the bytes around it
//! must come out equal.

mod scalar;
mod string;
mod vector;

pub use vector::has_avx;

use anyhow::{bail, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::memory::{Memory, PAGE_BYTES};
use xenlend_touch::random::Random;

use crate::steer::ask_lender;

/// Pages that a case may touch.
pub const PAGES: usize = 4;
/// Bytes of them.
pub const BYTES: usize = PAGES * PAGE_BYTES;

/// Runs on `bytes` bytes from `target`, with as many of other RAM at `ram`, and gives what came out in
/// registers.
pub type Operation = unsafe fn(target: *mut u8, ram: *mut u8, bytes: usize) -> u64;

/// One instruction, or one routine.
pub struct Case {
    /// What it is called.
    pub name: &'static str,
    /// What it does.
    pub operation: Operation,
    /// Bytes of the target that it touches.
    pub bytes: usize,
    /// Its target must be a multiple of this.
    pub alignment: usize,
}

#[derive(Args)]
pub struct Instructions {
    /// Where four lent pages are
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// The command for the lender's program that takes them away, contents kept
    revoke: String,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// Memory of this guest's own.
pub fn ram(pages: usize) -> Memory {
    let words = vec![0_u64; (pages + 1) * PAGE_BYTES / 8].leak();
    let start = words.as_mut_ptr() as usize;
    let aligned = start.next_multiple_of(PAGE_BYTES) - start;
    // SAFETY: leaked, large enough after aligning, and only used through the `Memory`.
    unsafe { Memory::new(words.as_mut_ptr().cast::<u8>().add(aligned), pages * PAGE_BYTES) }
}

/// Gives it the contents of a seed.
pub fn fill(memory: Memory, seed: u64) {
    let mut random = Random::new(seed);
    for index in 0..memory.bytes() / 8 {
        memory.write_u64(index * 8, random.draw());
    }
}

/// Where two of them first differ.
pub fn first_difference(a: Memory, b: Memory) -> Option<String> {
    (0..a.bytes() / 8)
        .map(|index| index * 8)
        .find(|at| a.read_u64(*at) != b.read_u64(*at))
        .map(|at| format!("at {at:#x}: {:016x} and not {:016x}", a.read_u64(at), b.read_u64(at)))
}

/// Where the target starts: inside a page, at a page's end, across a border, across two.
pub fn places(case: &Case) -> Vec<usize> {
    let mut places = vec![0x140, 2 * PAGE_BYTES - case.bytes / 2, 2 * PAGE_BYTES - 1];
    if case.bytes <= PAGE_BYTES {
        places.push(PAGE_BYTES - case.bytes);
    }
    for place in &mut places {
        *place -= *place % case.alignment;
    }
    places.retain(|place| place + case.bytes <= BYTES);
    places.sort_unstable();
    places.dedup();
    places
}

/// What a case works on: lent memory with other RAM, and the model of both.
pub struct Bench {
    lent: Memory,
    model: Memory,
    lent_ram: Memory,
    model_ram: Memory,
}

impl Bench {
    /// One around lent memory.
    pub fn new(lent: Memory) -> Self {
        Self { lent, model: ram(PAGES), lent_ram: ram(PAGES), model_ram: ram(PAGES) }
    }

    /// Lent memory, and its model.
    pub fn targets(&self) -> [Memory; 2] {
        [self.lent, self.model]
    }

    /// The same contents in lent memory and model.
    pub fn fill(&self, seed: u64) {
        fill(self.lent, seed);
        fill(self.model, seed);
        fill(self.lent_ram, !seed);
        fill(self.model_ram, !seed);
    }

    /// Runs a case once on lent memory.
    pub fn run_lent(&self, case: &Case, place: usize) -> u64 {
        case.run(self.lent, self.lent_ram, place)
    }

    /// Runs a case once on the model.
    pub fn run_model(&self, case: &Case, place: usize) -> u64 {
        case.run(self.model, self.model_ram, place)
    }

    /// Judges what came out in registers and in memory.
    ///
    /// # Errors
    /// What differs.
    pub fn judge(&self, found: u64, expected: u64) -> Result<(), String> {
        if found != expected {
            return Err(format!("gave {found:#x} and not {expected:#x}"));
        }
        if let Some(difference) = first_difference(self.lent, self.model) {
            return Err(format!("lent memory {difference}"));
        }
        match first_difference(self.lent_ram, self.model_ram) {
            Some(difference) => Err(format!("other RAM {difference}")),
            None => Ok(()),
        }
    }

    fn run(&self, case: &Case, place: usize, seed: u64, revoke: &str) -> Result<(), String> {
        self.fill(seed);
        ask_lender(revoke).map_err(|error| error.to_string())?;
        self.judge(self.run_lent(case, place), self.run_model(case, place))
    }
}

impl Case {
    fn run(&self, target: Memory, ram: Memory, place: usize) -> u64 {
        let ram_place = (place + 8) % (BYTES - self.bytes);
        let (target, ram) = (target.pointer(place, self.bytes), ram.pointer(ram_place, self.bytes));
        // SAFETY: both pieces have room for `bytes` bytes and the target is aligned as asked.
        unsafe { (self.operation)(target, ram, self.bytes) }
    }
}

/// All cases, which every Xen and the driver can keep right.
pub fn cases() -> Vec<Case> {
    [scalar::cases(), vector::cases(), string::cases()].into_iter().flatten().collect()
}

impl Instructions {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let bench = Bench::new(aperture.map(self.offset, BYTES as u64)?);
        let (mut ran, mut failures) = (0, Vec::new());
        let cases = cases();
        for case in cases.iter().filter(|case| case.name.contains(&self.only)) {
            for place in places(case) {
                ran += 1;
                if let Err(trouble) = bench.run(case, place, ran, &self.revoke) {
                    let failure = format!("{} of {} bytes at {place:#x}: {trouble}", case.name, case.bytes);
                    println!("{failure}");
                    failures.push(failure);
                }
            }
        }
        println!("cases={} runs={ran} failures={} avx={}", cases.len(), failures.len(), has_avx());
        match failures.first() {
            _ if ran == 0 => bail!("no case is called {:?}", self.only),
            None => Ok(()),
            Some(first) => bail!("{} of {ran} runs failed, first: {first}", failures.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{cases, fill, first_difference, places, ram, string, BYTES, PAGES};

    /// On RAM alone every case must agree with itself, or it is no test of lent memory.
    #[test]
    fn every_case_is_repeatable_and_stays_inside() {
        for case in cases() {
            for place in places(&case) {
                let run = || {
                    let (target, other) = (ram(PAGES), ram(PAGES));
                    fill(target, 1);
                    fill(other, 2);
                    // SAFETY: there is room at the place, as `Bench::run` has it.
                    let found = unsafe {
                        (case.operation)(
                            target.pointer(place, case.bytes),
                            other.pointer((place + 8) % (BYTES - case.bytes), case.bytes),
                            case.bytes,
                        )
                    };
                    (found, target, other)
                };
                let (first, second) = (run(), run());
                assert_eq!(first.0, second.0, "{}", case.name);
                assert_eq!(first_difference(first.1, second.1), None, "{}", case.name);
                assert_eq!(first_difference(first.2, second.2), None, "{}", case.name);
                let untouched = ram(PAGES);
                fill(untouched, 1);
                for at in (0..place.saturating_sub(8)).step_by(8) {
                    assert_eq!(
                        first.1.read_u64(at - at % 8),
                        untouched.read_u64(at - at % 8),
                        "{}",
                        case.name
                    );
                }
            }
        }
    }

    #[test]
    fn page_borders_are_crossed() {
        for case in string::cases() {
            assert!(places(&case).iter().any(|place| place / 4096 != (place + case.bytes - 1) / 4096));
        }
    }
}
