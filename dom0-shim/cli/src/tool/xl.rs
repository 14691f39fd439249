// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs xl.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::domain::{parse_domains, parse_vcpus, Life, Vcpu};
use super::guest::{self, Guest};
use super::host::Outcome;
use super::host_error::HostError;
use super::identity::{Domain, Identity};

/// What xl says when it finds no domain.
const NO_DOMAIN: [&str; 2] = ["is an invalid domain identifier", "does not exist"];

fn call(arguments: &[&str]) -> Outcome<Output> {
    Command::new("xl")
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(HostError::NoXl)
}

fn failure(arguments: &[&str], output: &Output) -> HostError {
    HostError::Xl {
        command: format!("xl {}", arguments.join(" ")),
        status: output.status.to_string(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// What xl prints; `None` if it finds no such domain.
fn ask(arguments: &[&str]) -> Outcome<Option<String>> {
    let output = call(arguments)?;
    if output.status.success() {
        return Ok(Some(String::from_utf8_lossy(&output.stdout).into_owned()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if NO_DOMAIN.iter().any(|text| said.contains(text)) {
        return Ok(None);
    }
    Err(failure(arguments, &output))
}

fn run(arguments: &[&str]) -> Outcome<()> {
    let output = call(arguments)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failure(arguments, &output))
    }
}

/// The configuration of a domain, by name or number.
pub fn guest(name: &str) -> Outcome<Option<Guest>> {
    match ask(&["list", "-l", name])? {
        Some(json) => Ok(guest::parse(&json)?),
        None => Ok(None),
    }
}

/// The domain of this number.
pub fn domain(domid: u16) -> Outcome<Option<Domain>> {
    let table = ask(&["list", "-v", &domid.to_string()])?.unwrap_or_default();
    Ok(parse_domains(&table).into_iter().find(|domain| domain.identity.domid == domid))
}

/// All domains, those too that are dying.
pub fn domains() -> Outcome<Vec<Domain>> {
    let arguments = ["list", "-v"];
    let table = ask(&arguments)?.unwrap_or_default();
    Ok(parse_domains(&table))
}

/// Whether a domain lives. A later one of its number is another.
pub fn life(domain: Identity) -> Outcome<Life> {
    let found = self::domain(domain.domid)?.filter(|found| found.identity == domain);
    Ok(found.map_or(Life::Gone, |found| found.life))
}

/// The vCPUs of a domain.
pub fn vcpus(domid: u16) -> Outcome<Vec<Vcpu>> {
    let table = ask(&["vcpu-list", &domid.to_string()])?;
    Ok(table.map_or_else(Vec::new, |table| parse_vcpus(&table, domid)))
}

/// Makes a domain, paused.
pub fn create_paused(config: &Path) -> Outcome<()> {
    run(&["create", "-p", "-q", &config.to_string_lossy()])
}

/// Lets it run.
pub fn unpause(domid: u16) -> Outcome<()> {
    run(&["unpause", &domid.to_string()])
}

/// Destroys it; fine if it is gone or going.
///
/// xl takes a number. Between the question and the call another domain cannot get it: Xen hands numbers out in
/// turn, and libxl uses none again for a minute.
pub fn destroy(domain: Identity) -> Outcome<()> {
    if !life(domain)?.exists() {
        return Ok(());
    }
    match run(&["destroy", &domain.domid.to_string()]) {
        // Somebody else was quicker.
        Err(_) if !life(domain)?.exists() => Ok(()),
        result => result,
    }
}
