// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands on a real dom0: preconditions, lock, work, words.

use std::io::{self, Write};
use std::time::Duration;

use xenlend::Device;

use super::args::{Command, UpArguments};
use super::broker_config::is_usable_name;
use super::down::down;
use super::failure::{Failure, OK};
use super::host::Host;
use super::host_error::HostError;
use super::identity::Uuid;
use super::lock::Lock;
use super::preflight::Surroundings;
use super::real_host::RealHost;
use super::record::Record;
use super::up::{await_claim, up, UpRequest};
use super::whom::uuid_of;
use super::{paths, record_file, status, supervise};

/// Does what was asked; gives the exit status.
pub fn run(command: Command) -> u8 {
    let result = Surroundings::look().check().map_err(Failure::from).and_then(|()| match command {
        Command::Up(arguments) => run_up(arguments),
        Command::Down { guest } => run_down(&guest),
        Command::Status { json, guest } => run_status(json, guest.as_deref()),
        Command::Supervise { detached: true, guest } => supervise::run(&guest),
        Command::Supervise { detached: false, guest } => start_supervisor(&guest),
    });
    match result {
        Ok(()) => OK,
        Err(failure) => {
            eprintln!("xenlend: {failure}\n  to do: {}", failure.remedy());
            failure.exit_status()
        }
    }
}

/// Nobody minds a reader that has gone away.
fn print(text: &str) {
    let _reader_gone = io::stdout().write_all(text.as_bytes());
}

fn take_lock(guest: Uuid, name: &str) -> Result<Lock, Failure> {
    let path = paths::lock(guest);
    let mut busy = || eprintln!("xenlend: waiting for another xenlend that is at work on guest {name}");
    Lock::take(&path, &mut busy).map_err(|error| HostError::File { operation: "lock", path, error }.into())
}

/// Locks the guest that is meant; gives its UUID too.
fn lock_guest(name: &str) -> Result<(Uuid, Lock), Failure> {
    let mut host = RealHost::default();
    loop {
        let uuid = uuid_of(&mut host, name)?;
        let lock = take_lock(uuid, name)?;
        // The name may have become another's while this one waited.
        if uuid_of(&mut host, name)? == uuid {
            return Ok((uuid, lock));
        }
    }
}

/// The name of a guest that may have been given by its number.
fn name_of(guest: &str) -> Result<String, Failure> {
    if !is_usable_name(guest) {
        return Err(Failure::UnusableName(guest.to_owned()));
    }
    if guest.parse::<u16>().is_err() {
        return Ok(guest.to_owned());
    }
    let found = RealHost::default().find_guest(guest)?;
    Ok(found.map_or_else(|| guest.to_owned(), |found| found.name))
}

fn run_up(arguments: UpArguments) -> Result<(), Failure> {
    let guest = name_of(&arguments.guest)?;
    // The next domain has another number, and the same name.
    let named = |text: String| if text == arguments.guest { guest.clone() } else { text };
    let again = arguments.again.then(|| std::env::args().skip(1).map(named).collect());
    let broker_of = arguments.broker_of.as_deref().map(name_of).transpose()?;
    let request = UpRequest {
        guest: guest.clone(),
        bars: arguments.bars.into_iter().map(|bar| (bar.text, bar.address)).collect(),
        aperture: arguments.aperture,
        max_aperture: arguments.max_aperture,
        check: arguments.check,
        deadline_ms: arguments.deadline,
        broker_of,
        image: arguments.broker_image,
        arguments: arguments.broker_args,
        timeout: Duration::from_secs(arguments.timeout.into()),
        again,
    };
    if request.broker_of.is_some() {
        await_claim(&mut RealHost::default(), &request)?;
    }
    let locks = lock_both(&guest, request.broker_of.as_deref())?;
    let record = up(&mut RealHost::default(), &request)?;
    drop(locks);
    let broker = record.broker_domid.unwrap_or_default();
    print(&format!("guest {guest} is up: broker is domain {broker}, aperture {}\n", record.aperture));
    Ok(())
}

/// In one order for all: two that join each other's broker do not wait for each other.
fn lock_both(guest: &str, other: Option<&str>) -> Result<Vec<Lock>, Failure> {
    let Some(other) = other.filter(|other| *other != guest) else { return Ok(vec![lock_guest(guest)?.1]) };
    let mut host = RealHost::default();
    let mut names = [(uuid_of(&mut host, guest)?, guest), (uuid_of(&mut host, other)?, other)];
    names.sort_unstable();
    names.into_iter().map(|(uuid, name)| take_lock(uuid, name)).collect()
}

fn run_down(guest: &str) -> Result<(), Failure> {
    let guest = name_of(guest)?;
    let (_, lock) = lock_guest(&guest)?;
    let report = down(&mut RealHost::default(), &guest)?;
    drop(lock);
    print(&format!("guest {guest} is down\n"));
    if let Some(broker) = report.dying_broker {
        eprintln!(
            "xenlend: broker (domain {broker}) stays as a dying domain until guest {guest} ends, and a vCPU of \
             the guest that touches the aperture now waits for ever\n  to do: `xl destroy {guest}`"
        );
    }
    Ok(())
}

fn run_status(json: bool, guest: Option<&str>) -> Result<(), Failure> {
    let mut host = RealHost::default();
    let links = Device::open().and_then(|device| device.links()).map_err(|error| HostError::Module {
        call: "XENLEND_STATUS",
        borrower: 0,
        error,
    })?;
    let recorded = record_file::guests(&paths::records())?;
    let mut reports = status::collect(&mut host, &recorded, &links, &mut |guest| {
        take_lock(guest, &guest.to_string()).map(drop)
    })?;
    if let Some(guest) = guest {
        let guest = name_of(guest)?;
        reports.retain(|report| report.guest == guest);
        if reports.is_empty() {
            uuid_of(&mut host, &guest)?;
            return Err(Failure::NotUp(guest));
        }
    }
    if json {
        let text = status::json(&reports).map_err(|error| HostError::File {
            operation: "write",
            path: "standard output".into(),
            error: error.into(),
        })?;
        print(&format!("{text}\n"));
    } else if guest.is_some() {
        print(&reports.iter().map(status::details).collect::<String>());
    } else {
        print(&status::table(&reports));
    }
    Ok(())
}

/// For a link whose supervisor was killed.
fn start_supervisor(guest: &str) -> Result<(), Failure> {
    let guest = name_of(guest)?;
    let mut host = RealHost::default();
    let (uuid, _lock) = lock_guest(&guest)?;
    let record = host.load_record(uuid)?.ok_or_else(|| Failure::NotUp(guest.clone()))?;
    match record.supervisor {
        Some(supervisor) if host.is_running(supervisor) => {
            print(&format!("guest {guest} has its supervisor: process {}\n", supervisor.pid));
        }
        _ => {
            let supervisor = host.start_supervisor(&record)?;
            host.save_record(&Record { supervisor: Some(supervisor), ..record })?;
            print(&format!("guest {guest} has a supervisor again: process {}\n", supervisor.pid));
        }
    }
    Ok(())
}
