// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};
use xenlend::BarAddress;

use super::aperture::{parse_limit, Aperture};
use super::paths::BROKER_IMAGE;

/// Lends this domain's memory to Xen guests.
///
/// Exit status: 0 done; 1 failed, nothing is left of it unless the message says so; 2 wrong usage;
/// 3 no such guest, or it is not up; 4 `up` of a guest that is up already.
#[derive(Debug, Parser)]
#[command(name = "xenlend", version, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Give a guest its broker and connect it
    Up(UpArguments),
    /// End a guest's link, in whatever state it is, and destroy its broker
    Down {
        /// Name of the guest
        guest: String,
    },
    /// Show the links, or everything about one
    Status {
        /// For programs: a document with a version and stable keys
        #[arg(long)]
        json: bool,
        /// Name of the guest
        guest: Option<String>,
    },
    /// Start the process that ends a link when its guest or its broker ends (`up` does so)
    #[command(hide = true)]
    Supervise {
        /// Be that process
        #[arg(long, hide = true)]
        detached: bool,
        /// Name of the guest
        guest: String,
    },
}

/// Arguments of `up`.
#[derive(Debug, clap::Args)]
pub struct UpArguments {
    /// Name of the guest; it must run, be PVH or HVM, and its driver or its command line (memmap=SIZE$BASE in its
    /// cmdline=) must reserve an aperture
    pub guest: String,
    /// A memory BAR whose frames may be lent while its device keeps its driver, SSSS:BB:DD.F/N as
    /// lspci names the device; may be given again
    #[arg(long = "bar", value_name = "SSSS:BB:DD.F/N")]
    pub bars: Vec<Bar>,
    /// The aperture, if the guest reserves several windows or is to get a part of one
    #[arg(long, value_name = "BASE:SIZE")]
    pub aperture: Option<Aperture>,
    /// The largest aperture that the guest may reserve or claim; at most 64G
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = parse_limit)]
    pub max_aperture: u64,
    /// Verify every acknowledgement of the broker
    #[arg(long)]
    pub check: bool,
    /// Milliseconds without any progress after which the module revokes without the broker
    #[arg(long, value_name = "MS", default_value_t = 0, hide_default_value = true)]
    pub deadline: u32,
    /// The broker's image
    #[arg(long, value_name = "PATH", default_value = BROKER_IMAGE)]
    pub broker_image: PathBuf,
    /// Have the broker of this guest serve the new one too, in the place of one of its own; lend-aware Xen only
    #[arg(long, value_name = "GUEST", conflicts_with_all = ["broker_image", "broker_args"])]
    pub broker_of: Option<String>,
    /// Command line of the broker
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub broker_args: String,
    /// Do the same for the domain that follows when the guest reboots
    #[arg(long)]
    pub again: bool,
    /// Seconds to wait for the broker, and for the driver's aperture
    #[arg(long, value_name = "S", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub timeout: u32,
}

/// A BAR and the text that named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// As given.
    pub text: String,
    /// What it means.
    pub address: BarAddress,
}

impl FromStr for Bar {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_bar(text).map(|address| Self { text: text.to_owned(), address }).ok_or_else(|| {
            "expected SSSS:BB:DD.F/N (segment, bus, device, function in hexadecimal; BAR 0 to 5), such as \
             0000:00:02.0/0"
                .to_owned()
        })
    }
}

fn parse_bar(text: &str) -> Option<BarAddress> {
    let (device, bar) = text.split_once('/')?;
    let parts: Vec<_> = device.split([':', '.']).collect();
    let [segment, bus, device_number, function] = match parts.as_slice() {
        [segment, bus, device, function] => [segment, bus, device, function],
        [bus, device, function] => [&"0", bus, device, function],
        _ => return None,
    };
    // The dot stands before the function only.
    (device.rfind(':')? < device.find('.')?).then_some(())?;
    let hex = |digits: &str, most: u32| {
        let clean = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit());
        let value = clean.then(|| u32::from_str_radix(digits, 16).ok())??;
        (value <= most).then_some(value)
    };
    let devfn = (hex(device_number, 0x1f)? << 3) | hex(function, 7)?;
    Some(BarAddress {
        segment: hex(segment, 0xffff)?,
        bus: hex(bus, 0xff)?,
        devfn: u8::try_from(devfn).ok()?,
        bar: u8::try_from(hex(bar, 5)?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn bars_are_named_as_lspci_names_devices() {
        let address = |text: &str| text.parse::<Bar>().map(|bar| bar.address);
        let expected = BarAddress { segment: 1, bus: 0xa, devfn: (0x1f << 3) | 7, bar: 5 };
        assert_eq!(address("0001:0a:1f.7/5"), Ok(expected));
        assert_eq!(address("00:02.0/0"), Ok(BarAddress { segment: 0, bus: 0, devfn: 0x10, bar: 0 }));
        for text in [
            "",
            "00:02.0",
            "00:02.0/",
            "00:02.0/6",
            "00:20.0/0",
            "00:02.8/0",
            "100:02.0/0",
            "00.02:0/0",
            "0:0:0:2.0/0",
            "10000:00:02.0/0",
            "+0:02.0/0",
            "00:02.0/0/0",
        ] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn everything_that_up_takes_is_taken() {
        let line = "xenlend up g1 --bar 00:01.0/0 --bar 0000:00:02.0/2 --aperture 0x200000000:64M --check \
                    --max-aperture 4G --deadline 500 --broker-image /b --broker-args=-x --timeout 5";
        let Command::Up(up) = Arguments::try_parse_from(line.split_whitespace()).unwrap().command else {
            panic!()
        };
        assert_eq!((up.guest.as_str(), up.bars.len(), up.check, up.deadline), ("g1", 2, true, 500));
        assert_eq!(up.aperture, Some(Aperture { address: 0x2_0000_0000, size: 64 << 20 }));
        assert_eq!(up.max_aperture, 4 << 30);
        assert_eq!((up.broker_args.as_str(), up.timeout, up.broker_of), ("-x", 5, None));
        let Command::Up(up) =
            Arguments::try_parse_from(["xenlend", "up", "g2", "--broker-of", "g1"]).unwrap().command
        else {
            panic!()
        };
        assert_eq!(up.broker_of.as_deref(), Some("g1"));
        assert_eq!(up.max_aperture, xenlend::layout::APERTURE_DEFAULT_LIMIT);
        for line in [
            "xenlend",
            "xenlend up",
            "xenlend up g1 --bar x",
            "xenlend up g1 --timeout 0",
            "xenlend up g1 --max-aperture 65G",
            "xenlend up g2 --broker-of g1 --broker-args x",
            "xenlend down",
        ] {
            assert!(Arguments::try_parse_from(line.split_whitespace()).is_err(), "{line}");
        }
    }
}
