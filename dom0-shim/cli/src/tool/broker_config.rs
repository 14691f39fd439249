// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xl file of a guest's broker.

use std::path::PathBuf;

use super::identity::Uuid;

/// The file with its blanks.
const TEMPLATE: &str = include_str!("../../../../boot/xl/broker.cfg");
/// What a guest's name may consist of: it becomes part of file names and of a domain's name.
const NAME_MARKS: &str = "._+@-";
const MAX_NAME: usize = 64;

/// What the broker of one guest is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerConfig {
    /// Name of the guest.
    pub guest: String,
    /// Its UUID.
    pub guest_uuid: Uuid,
    /// What the broker's domain is known by.
    pub uuid: Uuid,
    /// The unikernel.
    pub image: PathBuf,
    /// Its command line.
    pub arguments: String,
}

/// What the broker's domain is called: for people, and for nothing else.
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
        // One pass: what is filled in is not looked at again.
        let mut text = String::new();
        let mut rest = TEMPLATE;
        while let Some((before, blank, after)) = next_blank(rest) {
            text.push_str(before);
            text.push_str(&match blank {
                "GUEST" => escaped(&self.guest),
                "UUID" => self.uuid.to_string(),
                "IMAGE" => escaped(&self.image.to_string_lossy()),
                _ => escaped(&self.arguments),
            });
            rest = after;
        }
        text + rest
    }
}

/// What stands before the next @BLANK@, its name, and what comes after it.
fn next_blank(text: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = text.split_once('@')?;
    let (name, after) = rest.split_once('@')?;
    Some((before, name, after))
}

/// Text as it may stand in a string of xl's configuration.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::guest::tests::uuid;
    use super::*;

    fn config(arguments: &str) -> String {
        let image = PathBuf::from("/usr/libexec/xen/boot/xenlend-stubdom");
        let (guest_uuid, uuid) = (uuid(7), uuid(8));
        BrokerConfig { guest: "g1".to_owned(), guest_uuid, uuid, image, arguments: arguments.to_owned() }
            .text()
    }

    #[test]
    fn the_broker_is_a_small_pvh_domain_that_never_restarts() {
        let text = config("log=debug");
        let settings: Vec<_> =
            text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        for expected in [
            "name = \"xenlend-g1\"",
            "uuid = \"00000000-0000-0000-0000-000000000008\"",
            "type = \"pvh\"",
            "kernel = \"/usr/libexec/xen/boot/xenlend-stubdom\"",
            "cmdline = \"log=debug\"",
            "memory = 16",
            "vcpus = 1",
            "nomigrate = 1",
            "on_poweroff = \"destroy\"",
            "on_reboot = \"destroy\"",
            "on_crash = \"destroy\"",
        ] {
            assert!(settings.contains(&expected), "{expected} is not in {text}");
        }
        assert_eq!(broker_name("g1"), "xenlend-g1", "as in the file");
    }

    #[test]
    fn an_argument_cannot_add_a_line_to_the_file_or_fill_a_blank() {
        let text = config("a\"b\\c\niomem=[] @IMAGE@");
        assert!(text.contains(r#"cmdline = "a\"b\\c\niomem=[] @IMAGE@""#), "{text}");
        assert_eq!(text.lines().count(), TEMPLATE.lines().count());
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
