// SPDX-License-Identifier: MIT OR Apache-2.0
//! Simple jobs: look at, write, fill, check.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::FromRawFd as _;

use anyhow::{bail, Context, Result};
use clap::Args;
use xenlend_touch::aperture::{parse_number, Aperture};
use xenlend_touch::line::{compose, judge, LineId, Verdict, LINE_BYTES};
use xenlend_touch::memory::{Memory, PAGE_BYTES};
use xenlend_touch::sparse::Sparse;

/// Maps what the bytes `offset .. offset + bytes` touch, and gives the offset in the mapping.
fn map(aperture: Aperture, offset: u64, bytes: u64) -> Result<(Memory, usize)> {
    let page = PAGE_BYTES as u64;
    let start = offset / page * page;
    let end = (offset + bytes).div_ceil(page) * page;
    Ok((aperture.map(start, end - start)?, (offset - start) as usize))
}

#[derive(Args)]
pub struct Peek {
    #[arg(value_parser = parse_number)]
    offset: u64,
    #[arg(value_parser = parse_number)]
    bytes: u64,
}

impl Peek {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let (memory, start) = map(aperture, self.offset, self.bytes)?;
        for byte in memory.read_bytes(start, self.bytes as usize) {
            print!("{byte:02x}");
        }
        println!();
        Ok(())
    }
}

#[derive(Args)]
pub struct Poke {
    #[arg(value_parser = parse_number)]
    offset: u64,
    /// Two hex digits for each byte
    hex: String,
}

impl Poke {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        if self.hex.is_empty() || self.hex.len() % 2 != 0 || !self.hex.is_ascii() {
            bail!("{:?} is not a string of bytes", self.hex);
        }
        let bytes = (0..self.hex.len() / 2)
            .map(|index| u8::from_str_radix(&self.hex[index * 2..index * 2 + 2], 16).context("no hex"))
            .collect::<Result<Vec<_>>>()?;
        let (memory, start) = map(aperture, self.offset, bytes.len() as u64)?;
        memory.write_bytes(start, &bytes);
        Ok(())
    }
}

#[derive(Args)]
pub struct Lines {
    #[arg(value_parser = parse_number)]
    offset: u64,
    #[arg(value_parser = parse_number)]
    bytes: u64,
    /// Generation to write or to expect
    generation: u32,
    /// The run's seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Say "ready", and check only when standard input has ended
    #[arg(long)]
    gate: bool,
}

impl Lines {
    fn memory(&self, aperture: Aperture) -> Result<Memory> {
        if self.offset % PAGE_BYTES as u64 != 0 || self.bytes % PAGE_BYTES as u64 != 0 {
            bail!("whole pages only");
        }
        aperture.map(self.offset, self.bytes)
    }

    pub fn fill(&self, aperture: Aperture) -> Result<()> {
        let memory = self.memory(aperture)?;
        for index in 0..memory.bytes() / LINE_BYTES {
            let pixels = [index as u64; 8];
            memory.write_line(
                index * LINE_BYTES,
                &compose(LineId::at(index), self.generation, &pixels, self.seed),
            );
        }
        println!("filled={}", memory.bytes());
        Ok(())
    }

    pub fn check(&self, aperture: Aperture) -> Result<()> {
        let memory = self.memory(aperture)?;
        if self.gate {
            println!("ready");
            io::stdin().lock().read_to_end(&mut Vec::new()).context("the gate")?;
        }
        let (mut stale, mut broken, mut first) = (0_u64, 0_u64, None);
        for index in 0..memory.bytes() / LINE_BYTES {
            let words = memory.read_line(index * LINE_BYTES);
            match judge(&words, LineId::at(index), self.generation, self.seed) {
                Verdict::Good => continue,
                Verdict::Stale { .. } => stale += 1,
                Verdict::Broken => broken += 1,
            }
            first.get_or_insert((index, words));
        }
        println!("bytes_checked={} integrity_errors={broken} stale_reads={stale}", memory.bytes());
        match first {
            None => Ok(()),
            Some((index, words)) => bail!("line {index} is {words:016x?}"),
        }
    }
}

#[derive(Args)]
pub struct Read {
    #[arg(value_parser = parse_number)]
    offset: u64,
    #[arg(value_parser = parse_number)]
    bytes: u64,
    /// Has the kernel copy it first, by write(2) to a file: the touch is the kernel's
    #[arg(long)]
    by_kernel: bool,
}

impl Read {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = aperture.map(self.offset, self.bytes)?;
        let add = |sum: u64, word: u64| sum.rotate_left(1).wrapping_add(word);
        let sum = if self.by_kernel {
            let copy = copy_by_kernel(&memory)?;
            copy.chunks_exact(8).fold(0, |sum, word| add(sum, word.try_into().map_or(0, u64::from_ne_bytes)))
        } else {
            (0..memory.bytes() / 8).fold(0, |sum, index| add(sum, memory.read_u64(index * 8)))
        };
        println!("bytes={} sum={sum:016x}", memory.bytes());
        Ok(())
    }
}

/// What the kernel writes to a file when it is given the memory.
fn copy_by_kernel(memory: &Memory) -> Result<Vec<u8>> {
    // SAFETY: the name ends with a zero; the descriptor is owned by nobody else.
    let fd = unsafe { libc::memfd_create(c"copy".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error()).context("no file in memory");
    }
    // SAFETY: just made, and owned by nobody else.
    let mut file = unsafe { File::from_raw_fd(fd) };
    // SAFETY: the kernel reads so many bytes of the mapping, of which there is no reference.
    let written = unsafe { libc::write(fd, memory.pointer(0, memory.bytes()).cast(), memory.bytes()) };
    if written != memory.bytes() as isize {
        return Err(std::io::Error::last_os_error())
            .context(format!("the kernel has copied {written} bytes"));
    }
    let mut copy = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut copy)?;
    Ok(copy)
}

#[derive(Args)]
pub struct Same {
    #[arg(value_parser = parse_number)]
    offset: u64,
    #[arg(value_parser = parse_number)]
    bytes: u64,
    /// The value of every byte
    #[arg(value_parser = parse_number)]
    value: u64,
}

impl Same {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let (memory, start) = map(aperture, self.offset, self.bytes)?;
        let mut at = start;
        let end = start + self.bytes as usize;
        while at < end {
            // An access to what is not present is a long way: eight bytes at once where they are whole.
            let (found, step) = if at % 8 == 0 && end - at >= 8 {
                (memory.read_u64(at).to_le_bytes().to_vec(), 8)
            } else {
                (vec![memory.read_u8(at)], 1)
            };
            if let Some(other) = found.iter().find(|byte| u64::from(**byte) != self.value) {
                bail!("near byte {:#x} there is {other:#x} and not {:#x}", at - start, self.value);
            }
            at += step;
        }
        println!("bytes={}", self.bytes);
        Ok(())
    }
}

#[derive(Args)]
pub struct Spread {
    #[arg(value_parser = parse_number)]
    offset: u64,
    #[arg(value_parser = parse_number)]
    bytes: u64,
    /// Number of pages
    pages: usize,
    /// Each is the first of so many
    every: usize,
    /// Generation to expect; 0 is nothing, zeros
    generation: u32,
    /// Write it first
    #[arg(long)]
    fill: bool,
}

impl Spread {
    pub fn run(&self, aperture: Aperture) -> Result<()> {
        let memory = aperture.map(self.offset, self.bytes)?;
        let sparse = Sparse { pages: self.pages, every: self.every };
        if self.fill {
            sparse.fill(&memory, self.generation)?;
        }
        match self.generation {
            0 => sparse.check_empty(&memory)?,
            generation => sparse.check(&memory, generation)?,
        }
        println!("pages_checked={}", self.pages);
        Ok(())
    }
}
