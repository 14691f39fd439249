// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo`: the main job in one command. A guest draws into buffers of dom0's GPU driver
//! while that driver keeps moving them, and everything that is read is judged.

use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use clap::value_parser;
use serde::Serialize;
use xenlend_touch::nonce;

use crate::hypervisor::Flavour;
use crate::lab_run::{self, Arguments as RunArguments};
use crate::measured::Measured;
use crate::parts::Parts;
use crate::workspace::Workspace;

/// The command's options.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How long the buffers move
    #[arg(long, value_name = "S", default_value_t = 25, value_parser = value_parser!(u64).range(20..=3600))]
    pub seconds: u64,
    /// Flip one bit in a lent buffer: the command has to fail
    #[arg(long)]
    pub flip_byte: bool,
    /// The guest works through /dev/mem, without the borrower's driver
    #[arg(long)]
    pub no_frontend: bool,
    /// The hypervisor to boot
    #[arg(long, value_enum, default_value_t)]
    pub xen: Flavour,
    /// Where report, picture and logs go [default: target/lab/demo]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub parts: Parts,
}

/// Microseconds that revocations took, seen by the GPU driver's notifier call.
#[derive(Debug, Serialize)]
struct RevokeTimes {
    p50: f64,
    p99: f64,
    max: f64,
}

/// `report.json`.
#[derive(Debug, Serialize)]
struct Report {
    xen: String,
    dom0_kernel: String,
    guest_kernel: String,
    buffers: u64,
    bytes_lent: u64,
    migrations_to_vram: u64,
    migrations_to_ram: u64,
    invalidations: u64,
    revoked_pages: u64,
    stage2_faults: u64,
    guest_page_faults: u64,
    stage2_fault_share: f64,
    page_ins: u64,
    adds_2mib: u64,
    adds_4kib: u64,
    dom0_mapping_hypercalls: u64,
    bytes_checked: u64,
    integrity_errors: u64,
    stale_reads: u64,
    revoke_us: RevokeTimes,
    broker_image_bytes: u64,
    broker_memory_kib: u64,
    seconds: f64,
}

/// Does it; the exit status is 0 when everything held.
///
/// # Errors
/// A lab that cannot be built or started, or a demo that left no results.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<i32> {
    let folder = arguments.out.clone().unwrap_or_else(|| workspace.lab().join("demo"));
    // What the scripts say is for when something goes wrong.
    let result = carry_out(workspace, arguments, &folder, &mut |data| {
        let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), data);
    })?;
    print_table(&result);
    println!("report  {}", folder.join("report.json").display());
    println!("picture {}", folder.join("screen.png").display());
    for trouble in &result.troubles {
        println!("FAILED: {trouble}");
    }
    Ok(i32::from(!result.troubles.is_empty()))
}

/// What a demo showed.
pub struct Shown {
    report: Report,
    drawn: u64,
    read: Option<u64>,
    troubles: Vec<String>,
}

impl Shown {
    /// Everything that did not hold.
    pub fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// Lines that held something that was never published.
    pub fn integrity_errors(&self) -> u64 {
        self.report.integrity_errors
    }
}

/// Carries one demo out; what its script prints is handed over.
///
/// # Errors
/// As above.
pub fn carry_out(
    workspace: &Workspace,
    arguments: &Arguments,
    folder: &Path,
    print: &mut dyn FnMut(&[u8]),
) -> Result<Shown> {
    let folder = std::path::absolute(folder)?;
    crate::digest::remove(&folder)?;
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let (drawn, seed) = (random()?, random()? >> 1);
    let outcome = lab_run::carry_out(workspace, &lab(workspace, arguments, &folder, drawn, seed)?, print)?;
    if outcome.status != 0 {
        let why = outcome.trouble.unwrap_or_else(|| format!("the script ended with {}", outcome.status));
        bail!("the demo did not come to its end: {why} (logs in {})", folder.display());
    }
    let report = report(&folder)?;
    let json = folder.join("report.json");
    fs::write(&json, serde_json::to_string_pretty(&report)? + "\n")
        .with_context(|| json.display().to_string())?;
    let read = read_picture(&folder.join("screen.png"));
    let troubles = troubles(&report, drawn, &read, &folder);
    Ok(Shown { report, drawn, read: read.ok(), troubles })
}

/// A number that nobody could know before.
fn random() -> Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("/dev/urandom")?;
    Ok(u64::from_le_bytes(bytes))
}

/// The lab's run: the number goes into the guest's image alone.
fn lab(
    workspace: &Workspace,
    arguments: &Arguments,
    folder: &Path,
    drawn: u64,
    seed: u64,
) -> Result<RunArguments> {
    let number = folder.join("nonce");
    fs::write(&number, format!("{drawn:016x}\n")).with_context(|| number.display().to_string())?;
    let script = folder.join("script.sh");
    let spoil = if arguments.flip_byte { "--flip-byte" } else { "" };
    let text = format!(
        "cd \"$OUT\"\nexec sh -eu /usr/lib/xenlend-scenarios/demo.sh {} {seed} {spoil}\n",
        arguments.seconds
    );
    fs::write(&script, text).with_context(|| script.display().to_string())?;
    let scripts = workspace.root.join("boot/scenarios/scripts");
    Ok(RunArguments {
        script,
        guests: 1,
        vcpus: 1,
        pcpus: 1,
        guest_memory: 256,
        dom0_file: vec![format!("{}:/usr/lib/xenlend-scenarios", scripts.display())],
        guest_file: vec![format!("{}:/lab/nonce", number.display())],
        timeout: arguments.seconds + 300,
        out: Some(folder.to_owned()),
        xen: arguments.xen,
        no_broker: false,
        xen_cmdline: String::new(),
        dom0_cmdline: String::new(),
        guest_cmdline: String::new(),
        frontend: !arguments.no_frontend,
        guest_config: Vec::new(),
        aperture: "256M".to_owned(),
        device: Vec::new(),
        from_snapshot: false,
        quiet: true,
        parts: arguments.parts.clone(),
    })
}

/// Puts the report together from what the script left.
fn report(folder: &Path) -> Result<Report> {
    let read = |name: &str| Measured::read(&folder.join(name));
    let (facts, status) = (read("facts.txt")?, read("status.txt")?);
    let (guest, lender, end) = (read("guest.txt")?, read("lender.txt")?, read("end.txt")?);
    let sum =
        |name: &str| -> Result<u64> { Ok(guest.number(name)? + lender.number(name)? + end.number(name)?) };
    let micros = |name: &str| -> Result<f64> { Ok(status.number(name)? as f64 / 1000.0) };
    let bytes_lent = 48 << 20;
    if status.number("lent_bytes")? < bytes_lent {
        bail!("not all buffers were lent: {} bytes", status.number("lent_bytes")?);
    }
    let (stage2_faults, guest_page_faults) =
        (status.number("stage2_faults")?, facts.number("guest_page_faults")?);
    Ok(Report {
        xen: facts.text("xen")?,
        dom0_kernel: facts.text("dom0_kernel")?,
        guest_kernel: facts.text("guest_kernel")?,
        buffers: 12,
        bytes_lent,
        migrations_to_vram: status.number("migrations_to_vram")?,
        migrations_to_ram: status.number("migrations_to_ram")?,
        invalidations: status.number("invalidations")?,
        revoked_pages: status.number("revoked_pages")?,
        stage2_faults,
        guest_page_faults,
        stage2_fault_share: share(stage2_faults, guest_page_faults),
        page_ins: status.number("page_ins")?,
        adds_2mib: status.number("adds_2mib")?,
        adds_4kib: status.number("adds_4kib")?,
        dom0_mapping_hypercalls: status.number("dom0_mapping_hypercalls")?,
        bytes_checked: sum("bytes_checked")?,
        integrity_errors: sum("integrity_errors")?,
        stale_reads: sum("stale_reads")?,
        revoke_us: RevokeTimes {
            p50: micros("revoke_ns_p50")?,
            p99: micros("revoke_ns_p99")?,
            max: micros("revoke_ns_max")?,
        },
        broker_image_bytes: facts.number("broker_image_bytes")?,
        broker_memory_kib: facts.number("broker_memory_kib")?,
        seconds: lender.real("seconds")?,
    })
}

/// The part of all faults that stopped a vCPU.
fn share(stage2_faults: u64, guest_page_faults: u64) -> f64 {
    stage2_faults as f64 / (stage2_faults + guest_page_faults).max(1) as f64
}

/// Reads the number from the picture of the display.
fn read_picture(path: &Path) -> Result<u64> {
    let file = BufReader::new(File::open(path).with_context(|| path.display().to_string())?);
    let mut decoder = png::Decoder::new(file);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info()?;
    let size = reader.output_buffer_size().context("the picture is too large")?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes)?;
    let samples = frame.color_type.samples();
    if (frame.width, frame.height) != (1024, 768) || samples < 3 {
        bail!("the display shows {} x {} pixels of {samples} samples", frame.width, frame.height);
    }
    let pixel = |x: usize, y: usize| {
        let at = y * frame.line_size + x * samples;
        bytes[at..at + 3].iter().fold(0, |colour, sample| colour << 8 | u32::from(*sample))
    };
    nonce::decode(pixel).map_err(anyhow::Error::msg)
}

/// Everything that did not hold.
fn troubles(report: &Report, drawn: u64, read: &Result<u64>, folder: &Path) -> Vec<String> {
    let mut troubles = Vec::new();
    let mut must = |holds: bool, what: String| {
        if !holds {
            troubles.push(what);
        }
    };
    must(report.migrations_to_vram > 0, "no buffer moved to VRAM".into());
    must(report.migrations_to_ram > 0, "no buffer moved to RAM".into());
    must(
        report.dom0_mapping_hypercalls == 0,
        format!("dom0 itself made {} mapping hypercalls", report.dom0_mapping_hypercalls),
    );
    must(report.bytes_checked > 0, "nothing was checked".into());
    must(report.integrity_errors == 0, format!("{} integrity errors", report.integrity_errors));
    must(report.stale_reads == 0, format!("{} stale reads", report.stale_reads));
    must(report.seconds >= 20.0, format!("only {} s of activity", report.seconds));
    match read {
        Ok(read) => must(*read == drawn, format!("the picture shows {read:016x}, not {drawn:016x}")),
        Err(error) => must(false, format!("the picture shows no number: {error:#}")),
    }
    for name in ["lender.txt", "end.txt", "guest.err"] {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        if let Some(line) = text.lines().find(|line| line.contains("trouble") || line.starts_with("Error")) {
            troubles.push(format!("{name}: {line}"));
        }
    }
    troubles
}

/// The table for people.
fn print_table(Shown { report, drawn, read, .. }: &Shown) {
    let mib = |bytes: u64| format!("{} MiB", bytes >> 20);
    let read = read.map_or_else(|| "none".to_owned(), |read| format!("{read:016x}"));
    let rows = [
        ("Xen, dom0, guest", format!("{}, {}, {}", report.xen, report.dom0_kernel, report.guest_kernel)),
        ("time", format!("{:.1} s", report.seconds)),
        ("lent", format!("{} buffers, {}", report.buffers, mib(report.bytes_lent))),
        ("moved", format!("{} to VRAM, {} to RAM", report.migrations_to_vram, report.migrations_to_ram)),
        ("revoked", format!("{} pages in {} invalidations", report.revoked_pages, report.invalidations)),
        (
            "time to revoke",
            format!(
                "half within {:.0} us, 99 % within {:.0} us, longest {:.0} us",
                report.revoke_us.p50, report.revoke_us.p99, report.revoke_us.max
            ),
        ),
        (
            "faults",
            format!(
                "{} of the guest's programs, {} that stopped a vCPU ({:.1} %), {} page-ins",
                report.guest_page_faults,
                report.stage2_faults,
                report.stage2_fault_share * 100.0,
                report.page_ins
            ),
        ),
        ("entries made", format!("{} of 2 MiB, {} of 4 KiB", report.adds_2mib, report.adds_4kib)),
        ("made by dom0 itself", report.dom0_mapping_hypercalls.to_string()),
        (
            "checked",
            format!(
                "{}: {} integrity errors, {} stale reads",
                mib(report.bytes_checked),
                report.integrity_errors,
                report.stale_reads
            ),
        ),
        ("number drawn, shown", format!("{drawn:016x}, {read}")),
        (
            "broker",
            format!(
                "{} bytes of image, {} KiB of memory",
                report.broker_image_bytes, report.broker_memory_kib
            ),
        ),
    ];
    for (name, value) in rows {
        println!("{name:20}  {value}");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{read_picture, troubles, Report, RevokeTimes};
    use xenlend_touch::nonce;

    fn good() -> Report {
        Report {
            xen: "4.20".into(),
            dom0_kernel: "6.12".into(),
            guest_kernel: "6.12".into(),
            buffers: 12,
            bytes_lent: 48 << 20,
            migrations_to_vram: 1,
            migrations_to_ram: 1,
            invalidations: 2,
            revoked_pages: 2048,
            stage2_faults: 2,
            guest_page_faults: 2,
            stage2_fault_share: 0.5,
            page_ins: 2,
            adds_2mib: 2,
            adds_4kib: 2,
            dom0_mapping_hypercalls: 0,
            bytes_checked: 1,
            integrity_errors: 0,
            stale_reads: 0,
            revoke_us: RevokeTimes { p50: 1.0, p99: 2.0, max: 3.0 },
            broker_image_bytes: 1,
            broker_memory_kib: 1,
            seconds: 20.0,
        }
    }

    fn found(report: &Report, read: &anyhow::Result<u64>) -> usize {
        troubles(report, 5, read, Path::new("/nonexistent")).len()
    }

    #[test]
    fn every_promise_is_checked() {
        assert_eq!(found(&good(), &Ok(5)), 0);
        assert_eq!(found(&good(), &Ok(6)), 1, "another number");
        assert_eq!(found(&good(), &Err(anyhow::anyhow!("black"))), 1);
        let spoil: [fn(&mut Report); 7] = [
            |report| report.migrations_to_vram = 0,
            |report| report.migrations_to_ram = 0,
            |report| report.dom0_mapping_hypercalls = 1,
            |report| report.bytes_checked = 0,
            |report| report.integrity_errors = 1,
            |report| report.stale_reads = 1,
            |report| report.seconds = 19.9,
        ];
        for spoil in spoil {
            let mut report = good();
            spoil(&mut report);
            assert_eq!(found(&report, &Ok(5)), 1);
        }
    }

    #[test]
    fn the_number_is_read_from_a_picture_file() {
        let path = std::env::temp_dir().join(format!("xenlend-demo-{}.png", std::process::id()));
        let mut bytes = Vec::new();
        for y in 0..768 {
            for x in 0..1024 {
                let colour = if y < nonce::HEIGHT { nonce::colour(0xABCD_EF01_2345_6789, x, y) } else { 0 };
                bytes.extend(&colour.to_be_bytes()[1..]);
            }
        }
        let file = std::fs::File::create(&path).unwrap();
        let mut encoder = png::Encoder::new(file, 1024, 768);
        encoder.set_color(png::ColorType::Rgb);
        encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
        let read = read_picture(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), 0xABCD_EF01_2345_6789);
    }
}
