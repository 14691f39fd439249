// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks for bytes in a file that is too large to be read whole.

use std::io::{self, Read};

const CHUNK: usize = 1 << 20;

/// How often these bytes stand in what is read.
pub fn count(mut file: impl Read, wanted: &[u8]) -> io::Result<usize> {
    let (Some(first), keep) = (wanted.first(), wanted.len().saturating_sub(1)) else { return Ok(0) };
    let mut found = 0;
    let mut text: Vec<u8> = Vec::with_capacity(CHUNK + keep);
    loop {
        let known = text.len();
        file.by_ref().take(CHUNK as u64).read_to_end(&mut text)?;
        if text.len() == known {
            return Ok(found);
        }
        let mut at = 0;
        while let Some(step) = text[at..].iter().position(|byte| byte == first) {
            at += step;
            found += usize::from(text[at..].starts_with(wanted));
            at += 1;
        }
        // What may be the beginning of it is looked at again with what follows, and nothing that was counted.
        text.drain(..text.len().saturating_sub(keep));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_wherever_they_stand() {
        let wanted = b"abcab";
        for before in [0, 1, CHUNK - 5, CHUNK - 4, CHUNK - 1, CHUNK, 2 * CHUNK - 3] {
            let mut text = vec![b'a'; before];
            text.extend(wanted);
            text.extend(vec![b'x'; 7]);
            text.extend(wanted);
            assert_eq!(count(text.as_slice(), wanted).unwrap(), 2, "{before}");
        }
        assert_eq!(count(&b"abcabcab"[..], wanted).unwrap(), 2, "one reaches into the other");
        assert_eq!(count(&b"abca"[..], wanted).unwrap(), 0);
        assert_eq!(count(&b""[..], wanted).unwrap(), 0);
    }
}
