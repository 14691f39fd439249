// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a Linux command line reserves: the `memmap=SIZE$BASE` parts of it.
//!
//! The rules are those of the kernel's own parser: several parts in one parameter, separated by
//! commas; decimal, 0x hexadecimal and 0 octal numbers; the suffixes K M G T P E; double quotes;
//! nothing after `--` is the kernel's.

/// A stretch of guest-physical addresses, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// First byte.
    pub base: u64,
    /// Number of bytes.
    pub size: u64,
}

impl Stretch {
    /// First byte behind it; `None` if that does not fit in 64 bits.
    pub fn end(self) -> Option<u64> {
        self.base.checked_add(self.size)
    }

    /// Whether all of `inner` lies in it.
    pub fn contains(self, inner: Self) -> bool {
        match (self.end(), inner.end()) {
            (Some(end), Some(inner_end)) => self.base <= inner.base && inner_end <= end,
            _ => false,
        }
    }

    /// Whether they have a byte in common.
    pub fn overlaps(self, other: Self) -> bool {
        let below = |a: Self, b: Self| a.end().is_some_and(|end| end <= b.base);
        self.size != 0 && other.size != 0 && !below(self, other) && !below(other, self)
    }
}

/// A number as the kernel's `memparse` takes it, all of `text`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let split = text.len().checked_sub(1)?;
    let factor = match text.get(split..)? {
        "K" | "k" => Some(1 << 10),
        "M" | "m" => Some(1 << 20),
        "G" | "g" => Some(1 << 30),
        "T" | "t" => Some(1 << 40),
        "P" | "p" => Some(1 << 50),
        // Without 0x an E is no digit.
        "E" | "e" if !text.starts_with("0x") && !text.starts_with("0X") => Some(1_u64 << 60),
        _ => None,
    };
    match factor {
        Some(factor) => parse_digits(text.get(..split)?)?.checked_mul(factor),
        None => parse_digits(text),
    }
}

fn parse_digits(text: &str) -> Option<u64> {
    let (digits, radix) = match text {
        _ if text.starts_with("0x") || text.starts_with("0X") => (text.get(2..)?, 16),
        _ if text.starts_with('0') && text.len() > 1 => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    // from_str_radix would take a sign.
    digits.chars().all(|c| c.is_digit(radix)).then(|| u64::from_str_radix(digits, radix).ok()).flatten()
}

/// Everything that this command line takes out of the guest's use.
pub fn reservations(command_line: &str) -> Vec<Stretch> {
    parameters(command_line)
        .iter()
        .filter_map(|parameter| parameter.strip_prefix("memmap="))
        .flat_map(|value| value.split(','))
        .filter_map(|part| part.split_once('$'))
        .filter_map(|(size, base)| Some(Stretch { base: parse_bytes(base)?, size: parse_bytes(size)? }))
        .filter(|stretch| stretch.size != 0 && stretch.end().is_some())
        .collect()
}

/// The kernel's own parameters, quotes taken away.
fn parameters(command_line: &str) -> Vec<String> {
    let mut parameters = vec![String::new()];
    let mut quoted = false;
    for c in command_line.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => parameters.push(String::new()),
            c => {
                if let Some(last) = parameters.last_mut() {
                    last.push(c);
                }
            }
        }
    }
    parameters.into_iter().filter(|p| !p.is_empty()).take_while(|p| p != "--").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_memparse() {
        for (text, value) in [
            ("4096", 4096),
            ("2M", 2 << 20),
            ("64m", 64 << 20),
            ("3G", 3 << 30),
            ("512K", 512 << 10),
            ("1T", 1 << 40),
            ("0x100000000", 1 << 32),
            ("0x10M", 16 << 20),
            ("0xE", 14),
            ("010", 8),
            ("0", 0),
            ("1E", 1 << 60),
        ] {
            assert_eq!(parse_bytes(text), Some(value), "{text}");
        }
        for text in ["", "M", "x", "-1", "+1", "1MM", "0xG1", "09", "16E", "18446744073709551616", "1 M", "é"]
        {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn only_dollar_parts_of_memmap_before_the_double_dash_reserve() {
        let line = "console=hvc0 memmap=64M$0x100000000 memmap=16M@1G memmap=1M#2M,2M$0x200000000 \
                    xmemmap=2M$4G memmap=exactmap memmap=\"2M$6G\" -- memmap=2M$8G";
        assert_eq!(
            reservations(line),
            [
                Stretch { base: 1 << 32, size: 64 << 20 },
                Stretch { base: 2 << 32, size: 2 << 20 },
                Stretch { base: 6 << 30, size: 2 << 20 },
            ]
        );
    }

    #[test]
    fn what_the_kernel_would_not_understand_reserves_nothing() {
        for line in [
            "",
            "memmap=",
            "memmap=$",
            "memmap=64M",
            "memmap=0$4G",
            "memmap=2M$",
            "memmap=15E$15E",
            "memmap=1G$$2G",
        ] {
            assert_eq!(reservations(line), [], "{line}");
        }
    }

    #[test]
    fn stretches_touch_overlap_and_contain() {
        let stretch = |base, size| Stretch { base, size };
        assert!(stretch(0, 10).overlaps(stretch(9, 1)));
        assert!(!stretch(0, 10).overlaps(stretch(10, 1)));
        assert!(!stretch(0, 10).overlaps(stretch(5, 0)));
        assert!(stretch(5, u64::MAX).overlaps(stretch(100, 1)));
        assert!(stretch(0, 10).contains(stretch(0, 10)));
        assert!(!stretch(0, 10).contains(stretch(1, 10)));
        assert!(!stretch(0, 10).contains(stretch(1, u64::MAX)));
    }
}
