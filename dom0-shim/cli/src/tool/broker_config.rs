// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xl file of a guest's broker.

use std::path::PathBuf;

/// Memory of a broker, in MiB.
const MEMORY_MIB: u32 = 16;
/// What a guest's name may consist of: it becomes part of file names and of a domain's name.
const NAME_MARKS: &str = "._+@-";
const MAX_NAME: usize = 64;

/// What the broker of one guest is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Name of the guest.
    pub guest: String,
    /// The unikernel.
    pub image: PathBuf,
    /// Its command line.
    pub arguments: String,
}

/// Name of the broker's domain.
pub fn broker_name(guest: &str) -> String {
    format!("xenlend-{guest}")
}

/// Whether files and a domain can be named after this guest.
pub fn is_usable_name(guest: &str) -> bool {
    let usable = |c: char| c.is_ascii_alphanumeric() || NAME_MARKS.contains(c);
    !guest.is_empty()
        && guest.len() <= MAX_NAME
        && !guest.starts_with(['.', '-'])
        && guest.chars().all(usable)
}

impl BrokerConfig {
    /// The text of the xl file.
    pub fn text(&self) -> String {
        format!(
            "# Written by xenlend for the broker of guest {guest}.\n\
             name = {name}\n\
             type = \"pvh\"\n\
             kernel = {image}\n\
             cmdline = {arguments}\n\
             memory = {MEMORY_MIB}\n\
             maxmem = {MEMORY_MIB}\n\
             vcpus = 1\n\
             on_poweroff = \"destroy\"\n\
             on_reboot = \"destroy\"\n\
             on_crash = \"destroy\"\n\
             on_watchdog = \"destroy\"\n",
            guest = self.guest,
            name = quoted(&broker_name(&self.guest)),
            image = quoted(&self.image.to_string_lossy()),
            arguments = quoted(&self.arguments),
        )
    }
}

/// A string as xl's configuration parser takes it.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_is_a_small_pvh_domain_that_never_restarts() {
        let config = BrokerConfig {
            guest: "g1".to_owned(),
            image: PathBuf::from("/usr/libexec/xen/boot/xenlend-stubdom"),
            arguments: "log=debug".to_owned(),
        };
        assert_eq!(
            config.text(),
            "# Written by xenlend for the broker of guest g1.\n\
             name = \"xenlend-g1\"\n\
             type = \"pvh\"\n\
             kernel = \"/usr/libexec/xen/boot/xenlend-stubdom\"\n\
             cmdline = \"log=debug\"\n\
             memory = 16\n\
             maxmem = 16\n\
             vcpus = 1\n\
             on_poweroff = \"destroy\"\n\
             on_reboot = \"destroy\"\n\
             on_crash = \"destroy\"\n\
             on_watchdog = \"destroy\"\n"
        );
    }

    #[test]
    fn an_argument_cannot_add_a_line_to_the_file() {
        assert_eq!(quoted("a\"b\\c\niomem=[]"), r#""a\"b\\c\niomem=[]""#);
    }

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        for name in ["g1", "work-vm_2.old", "a@b+c"] {
            assert!(is_usable_name(name), "{name}");
        }
        let long = "x".repeat(65);
        for name in ["", ".", "..", "../g1", "a/b", "-g1", "a b", "a\nb", "\u{e9}", &long] {
            assert!(!is_usable_name(name), "{name:?}");
        }
    }
}
