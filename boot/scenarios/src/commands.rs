// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands of a lender process. Offsets and sizes are bytes, with an optional K, M or G.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process;

use anyhow::{bail, Context, Result};
use clap::{Parser, Subcommand};
use xenlend::layout::Attach;
use xenlend::{BarAddress, Device, Label, Region, Resolve};
use xenlend_touch::aperture::parse_number;
use xenlend_touch::hunted;
use xenlend_touch::line::{compose, judge, LineId, Verdict, LINE_BYTES};
use xenlend_touch::sparse::Sparse;

use crate::area::Area;
use crate::disturbance::Disturbance;
use crate::drive;
use crate::judge_run::{await_event, clear_counts, counts, status, verify, Cycle};
use crate::lender::Lender;
use crate::play::{CheckAll, Play, Show};
use crate::protection::{sum_words, Flicker, Protection};
use crate::seek;

/// What a lender process does after a command.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Takes another.
    Go,
    /// Ends.
    End,
}

fn size(text: &str) -> Result<usize> {
    Ok(usize::try_from(parse_number(text)?)?)
}

/// A label, that may have `\e` for an escape character.
fn label(text: &str) -> Result<Label> {
    Ok(Label::new(&text.replace("\\e", "\x1b"))?)
}

#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Kind {
    /// This process's own memory
    Anonymous {
        #[arg(value_parser = size)]
        bytes: usize,
    },
    /// A file in memory
    Memfd {
        #[arg(value_parser = size)]
        bytes: usize,
    },
    /// A file that this process hides from everybody, the kernel too
    Secret {
        #[arg(value_parser = size)]
        bytes: usize,
    },
    /// Buffers of 4 MiB of a graphics driver
    Dumb {
        driver: String,
        count: usize,
        #[arg(long)]
        display: bool,
    },
    /// Pages of the driver that owns its frames
    Own {
        pages: usize,
        #[arg(long)]
        contiguous: bool,
        /// The first fault makes a page readable, and a second one writable
        #[arg(long)]
        notify_writes: bool,
    },
    /// A file, or a device's BAR
    File {
        path: String,
        #[arg(value_parser = size)]
        bytes: usize,
        #[arg(value_parser = parse_number, default_value = "0")]
        offset: u64,
        #[arg(long)]
        read_only: bool,
    },
    /// This process's own memory, of which no page comes before `answer`
    Unanswered {
        #[arg(value_parser = size)]
        bytes: usize,
    },
    /// A page that another domain has granted
    Granted { domain: u16, reference: u32 },
    /// A frame of another domain
    Foreign {
        domain: u16,
        #[arg(value_parser = parse_number)]
        gfn: u64,
    },
}

#[derive(Subcommand)]
enum Command {
    /// Binds to a borrower
    Bind { domain: u16 },
    /// Closes the bound descriptor
    Close,
    /// Leaves a process behind that keeps the descriptor open, and prints its id
    Hold,
    /// Allows a BAR's frames to be lent: device as SSSS:BB:DD.F
    AllowBar { domain: u16, device: String, bar: u8 },
    /// Asks the module for a link between two domains, with an aperture at 256 GiB
    Attach {
        borrower: u16,
        broker: u16,
        #[arg(value_parser = parse_number)]
        aperture_bytes: u64,
        #[arg(value_parser = parse_number)]
        limit_bytes: u64,
    },
    /// Makes an area
    Area {
        name: String,
        #[command(subcommand)]
        kind: Kind,
    },
    /// Lends an area, or a part of it, at an offset of the aperture
    Lend {
        slot: u32,
        area: String,
        #[arg(value_parser = parse_number)]
        offset: u64,
        #[arg(long, value_parser = size, default_value = "0")]
        start: usize,
        #[arg(long, value_parser = size)]
        bytes: Option<usize>,
        #[arg(long, value_parser = parse_number, default_value = "0")]
        flags: u64,
        /// What the guest sees it called; `\e` is an escape character
        #[arg(long, value_parser = label, default_value = "")]
        label: Label,
    },
    /// Asks for a region just as given; fails with the errno's number
    Raw {
        slot: u32,
        #[arg(value_parser = parse_number)]
        flags: u64,
        #[arg(value_parser = parse_number)]
        guest_phys_addr: u64,
        #[arg(value_parser = parse_number)]
        memory_size: u64,
        #[arg(value_parser = parse_number)]
        userspace_addr: u64,
    },
    /// Deletes a region
    Unlend { slot: u32 },
    /// Prints an area's address in this process
    Address { area: String },
    /// Writes the background that hunters expect
    Prepare { area: String },
    /// Writes lines of a generation
    Fill {
        area: String,
        #[arg(value_parser = size)]
        start: usize,
        #[arg(value_parser = size)]
        bytes: usize,
        generation: u32,
    },
    /// How often a file holds the first two lines of an area, one behind the other
    Seek { area: String, file: PathBuf },
    /// Judges lines against a generation
    Check {
        area: String,
        #[arg(value_parser = size)]
        start: usize,
        #[arg(value_parser = size)]
        bytes: usize,
        generation: u32,
    },
    /// Writes a line into each of so many pages, the first of each so many
    FillSpread { area: String, pages: usize, every: usize, generation: u32 },
    /// Judges those lines; generation 0 is zeros
    CheckSpread { area: String, pages: usize, every: usize, generation: u32 },
    /// Prints a byte
    Peek {
        area: String,
        #[arg(value_parser = size)]
        at: usize,
    },
    /// Writes a byte
    Poke {
        area: String,
        #[arg(value_parser = size)]
        at: usize,
        #[arg(value_parser = parse_number)]
        value: u64,
    },
    /// Takes the frames of a part away, contents kept
    Revoke {
        area: String,
        #[arg(value_parser = size)]
        start: usize,
        #[arg(value_parser = size)]
        bytes: usize,
    },
    /// Frees the memory of a part
    Punch {
        area: String,
        #[arg(value_parser = size)]
        start: usize,
        #[arg(value_parser = size)]
        bytes: usize,
    },
    /// Brings pages of unanswered memory: copies of another area's, from the same place
    Answer {
        area: String,
        #[arg(value_parser = size)]
        start: usize,
        #[arg(value_parser = size)]
        bytes: usize,
        from: String,
    },
    /// Changes what this process may do with a part
    Protect {
        area: String,
        #[arg(value_parser = size)]
        start: usize,
        #[arg(value_parser = size)]
        bytes: usize,
        protection: Protection,
    },
    /// Starts a thread that gets in the way of whoever looks into an area
    Disturb { area: String, how: Disturbance },
    /// Makes an area read-only for a millisecond, again and again
    Flicker(Flicker),
    /// Prints the sum of the words at the start of each page
    SumWords { area: String },
    /// Says that nothing will come of a part of what is lent in a slot, or with --retry that it is
    /// to be looked at
    Resolve {
        slot: u32,
        #[arg(value_parser = parse_number)]
        offset: u64,
        #[arg(value_parser = parse_number)]
        bytes: u64,
        #[arg(long)]
        retry: bool,
    },
    /// Removes the mapping of a part
    Unmap {
        area: String,
        #[arg(value_parser = size)]
        start: usize,
        #[arg(value_parser = size)]
        bytes: usize,
    },
    /// Maps an area again
    Remap { area: String },
    /// Moves an area's mapping out of its window
    MoveAway { area: String },
    /// Shows a buffer on the display
    Show(Show),
    /// Takes pages away one after the other while the guest works on them
    Cycle(Cycle),
    /// Looks at the frames that the driver took away; fails if somebody wrote into one
    Verify { area: String },
    /// Flips the display and takes turns
    Play(Play),
    /// Judges everything
    CheckAll(CheckAll),
    /// Asks the guest's programs to stop
    Stop { control: String },
    /// Takes that back, and clears the guest's counts
    Go { control: String },
    /// Prints the guest's counts; fails unless they are as expected
    Counts {
        control: String,
        #[arg(long)]
        dirty: bool,
    },
    /// Prints state and counters of the link
    Status,
    /// Prints events that have come
    Events,
    /// Waits for an event whose text contains this, or one of several parted by |
    Await {
        text: String,
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Runs a command in a guest that may ask for commands of this list
    Drive {
        /// Print how long its commands took
        #[arg(long)]
        timed: bool,
        guest: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Ends this process
    Exit,
    /// Prints the commands
    Help,
}

fn bar_address(device: &str, bar: u8) -> Result<BarAddress> {
    let parts = (|| {
        let (segment, rest) = device.split_once(':')?;
        let (bus, rest) = rest.split_once(':')?;
        let (slot, function) = rest.split_once('.')?;
        let hex = |text| u32::from_str_radix(text, 16).ok();
        let devfn = u8::try_from(hex(slot)? << 3 | hex(function)?).ok()?;
        Some(BarAddress { segment: hex(segment)?, bus: hex(bus)?, devfn, bar })
    })();
    parts.with_context(|| format!("{device:?} is not SSSS:BB:DD.F"))
}

fn make(kind: Kind) -> Result<Area> {
    match kind {
        Kind::Anonymous { bytes } => Area::anonymous(bytes),
        Kind::Memfd { bytes } => Area::memory_file(bytes),
        Kind::Secret { bytes } => Area::secret(bytes),
        Kind::Dumb { driver, count, display } => Area::dumb(&driver, count, display),
        Kind::Own { pages, contiguous, notify_writes } => Area::own_frames(pages, contiguous, notify_writes),
        Kind::File { path, bytes, offset, read_only } => Area::file(&path, offset, bytes, read_only),
        Kind::Unanswered { bytes } => Area::unanswered(bytes),
        Kind::Granted { domain, reference } => Area::granted(domain, reference),
        Kind::Foreign { domain, gfn } => Area::foreign(domain, gfn),
    }
}

/// Carries one command out; what it prints goes to `out`.
pub fn carry_out(lender: &mut Lender, words: &[String], out: &mut impl Write) -> Result<Next> {
    let line = Line::try_parse_from(words)?;
    match line.command {
        Command::Bind { domain } => lender.bind(domain)?,
        Command::Close => lender.close()?,
        Command::Hold => {
            let descriptor = lender.descriptor()?.as_fd().try_clone_to_owned()?;
            let child = process::Command::new("sleep")
                .arg("86400")
                .stdin(descriptor)
                .stdout(process::Stdio::null())
                .stderr(process::Stdio::null())
                .spawn()?;
            writeln!(out, "{}", child.id())?;
        }
        Command::AllowBar { domain, device, bar } => {
            let frames =
                Device::open()?.allow_bar(domain, bar_address(&device, bar)?).context("XENLEND_ALLOW_BAR")?;
            writeln!(out, "frames={frames}")?;
        }
        Command::Attach { borrower, broker, aperture_bytes, limit_bytes } => {
            let request = Attach {
                borrower,
                broker,
                aperture_address: 256 << 30,
                aperture_size: aperture_bytes,
                aperture_limit: limit_bytes,
                vcpus: 1,
                ..Attach::default()
            };
            Device::open()?.attach(request).context("XENLEND_ATTACH")?;
        }
        Command::Area { name, kind } => {
            let area = make(kind)?;
            writeln!(out, "bytes={}", area.window().bytes())?;
            lender.add(&name, area)?;
        }
        Command::Lend { slot, area, offset, start, bytes, flags, label } => {
            let bytes = bytes.unwrap_or(lender.area(&area)?.window().bytes() - start);
            lender.lend(slot, &area, (start, bytes), offset, flags as u32, label)?;
        }
        Command::Raw { slot, flags, guest_phys_addr, memory_size, userspace_addr } => {
            lender.set(&Region {
                slot,
                flags: flags as u32,
                guest_phys_addr,
                memory_size,
                userspace_addr,
                label: Label::default(),
            })?;
        }
        Command::Unlend { slot } => lender.descriptor()?.delete_region(slot)?,
        Command::Address { area } => writeln!(out, "{:#x}", lender.area(&area)?.window().address())?,
        Command::Prepare { area } => hunted::prepare(lender.memory(&area)?),
        Command::Fill { area, start, bytes, generation } => {
            let memory = lender.memory(&area)?.part(start, bytes);
            for index in 0..bytes / LINE_BYTES {
                let words = compose(LineId::at(index), generation, &[index as u64; 8], 0);
                memory.write_line(index * LINE_BYTES, &words);
            }
        }
        Command::Seek { area, file } => {
            let memory = lender.memory(&area)?.part(0, 2 * LINE_BYTES);
            let lines = [memory.read_line(0), memory.read_line(LINE_BYTES)].concat();
            let wanted: Vec<u8> = lines.into_iter().flat_map(u64::to_ne_bytes).collect();
            writeln!(out, "found={}", seek::count(File::open(&file)?, &wanted)?)?;
        }
        Command::Check { area, start, bytes, generation } => {
            let memory = lender.memory(&area)?.part(start, bytes);
            for index in 0..bytes / LINE_BYTES {
                let words = memory.read_line(index * LINE_BYTES);
                let verdict = judge(&words, LineId::at(index), generation, 0);
                if verdict != Verdict::Good {
                    bail!("line {index}: {verdict:?} {words:016x?}");
                }
            }
            writeln!(out, "bytes_checked={bytes}")?;
        }
        Command::FillSpread { area, pages, every, generation } => {
            Sparse { pages, every }.fill(&lender.memory(&area)?, generation)?;
        }
        Command::CheckSpread { area, pages, every, generation: 0 } => {
            Sparse { pages, every }.check_empty(&lender.memory(&area)?)?;
        }
        Command::CheckSpread { area, pages, every, generation } => {
            Sparse { pages, every }.check(&lender.memory(&area)?, generation)?;
        }
        Command::Peek { area, at } => writeln!(out, "{:02x}", lender.memory(&area)?.read_u8(at))?,
        Command::Poke { area, at, value } => lender.memory(&area)?.write_u8(at, value as u8),
        Command::Revoke { area, start, bytes } => lender.area(&area)?.revoke(start, bytes)?,
        Command::Punch { area, start, bytes } => lender.area(&area)?.punch(start, bytes)?,
        Command::Answer { area, start, bytes, from } => {
            lender.area(&area)?.answer(start, bytes, lender.area(&from)?)?;
        }
        Command::Protect { area, start, bytes, protection } => {
            lender.area(&area)?.window().protect(start, bytes, protection.bits())?;
        }
        Command::Disturb { area, how } => how.begin(lender.area(&area)?.window()),
        Command::Flicker(command) => command.run(lender, out)?,
        Command::SumWords { area } => sum_words(lender, &area, out)?,
        Command::Resolve { slot, offset, bytes, retry } => {
            let address = lender.status()?.aperture_address + offset;
            let answer = if retry { Resolve::Retry } else { Resolve::Loss };
            lender.descriptor()?.resolve(slot, address, bytes, answer)?;
        }
        Command::Unmap { area, start, bytes } => lender.area(&area)?.window().unmap(start, bytes)?,
        Command::Remap { area } => lender.area(&area)?.map_again()?,
        Command::MoveAway { area } => {
            writeln!(out, "{:#x}", lender.area(&area)?.move_away()?.address())?;
        }
        Command::Show(command) => command.run(lender)?,
        Command::Cycle(command) => command.run(lender, out)?,
        Command::Verify { area } => verify(lender, &area, out)?,
        Command::Play(command) => command.run(lender, out)?,
        Command::CheckAll(command) => command.run(lender, out)?,
        Command::Stop { control } => lender.control(&control)?.set_stopped(true),
        Command::Go { control } => {
            clear_counts(lender, &control)?;
        }
        Command::Counts { control, dirty } => counts(lender, &control, dirty, out)?,
        Command::Status => status(lender, out)?,
        Command::Events => {
            for event in lender.descriptor()?.events()? {
                writeln!(out, "{event:?}")?;
            }
        }
        Command::Await { text, seconds } => await_event(lender, &text, seconds, out)?,
        Command::Drive { timed, guest, command } => drive::run(lender, &guest, &command, timed, out)?,
        Command::Exit => return Ok(Next::End),
        Command::Help => {
            write!(out, "{}", <Line as clap::CommandFactory>::command().render_long_help())?;
        }
    }
    Ok(Next::Go)
}

#[cfg(test)]
mod tests {
    use super::{bar_address, carry_out, Line, Next};
    use crate::lender::Lender;
    use clap::CommandFactory;

    fn tell(lender: &mut Lender, line: &str) -> Result<String, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let mut out = Vec::new();
        match carry_out(lender, &words, &mut out) {
            Ok(Next::Go) => Ok(String::from_utf8(out).unwrap()),
            Ok(Next::End) => Ok("end".into()),
            Err(error) => Err(format!("{error:#}")),
        }
    }

    #[test]
    fn the_commands_are_well_formed() {
        Line::command().debug_assert();
    }

    #[test]
    fn areas_keep_what_is_written_through_revocations() {
        let lender = &mut Lender::default();
        tell(lender, "area a memfd 64K").unwrap();
        tell(lender, "fill a 0 64K 7").unwrap();
        tell(lender, "revoke a 4096 8192").unwrap();
        assert_eq!(tell(lender, "check a 0 64K 7").unwrap(), "bytes_checked=65536\n");
        tell(lender, "poke a 5000 0xff").unwrap();
        assert!(tell(lender, "check a 0 64K 7").unwrap_err().contains("line 78"));
        tell(lender, "punch a 4096 4096").unwrap();
        assert_eq!(tell(lender, "peek a 5000").unwrap(), "00\n");
        tell(lender, "remap a").unwrap();
        assert!(tell(lender, "area a memfd 4K").is_err(), "a name is used once");
        assert!(tell(lender, "lend 0 a 0").unwrap_err().contains("not bound"));
        assert_eq!(tell(lender, "exit").unwrap(), "end");
    }

    #[test]
    fn device_addresses_are_read() {
        let bar = bar_address("0000:00:1f.7", 2).unwrap();
        assert_eq!((bar.segment, bar.bus, bar.devfn, bar.bar), (0, 0, 0xFF, 2));
        assert!(bar_address("00:1f.7", 2).is_err());
    }
}
