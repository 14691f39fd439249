// SPDX-License-Identifier: MIT OR Apache-2.0
//! The xenstore client against a daemon played by the test.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::{spawn, JoinHandle};

use super::xenstore::Xenstore;

/// Request expected, and the messages to send then: type and payload each.
type Exchange = (u32, &'static [u8], &'static [(u32, &'static [u8])]);

fn play(script: &'static [Exchange]) -> (Xenstore<UnixStream>, JoinHandle<()>) {
    let (client, mut daemon) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let thread = spawn(move || {
        for (kind, payload, answers) in script {
            let mut header = [0; 16];
            daemon.read_exact(&mut header).unwrap();
            assert_eq!(header[..4], kind.to_le_bytes());
            let mut got = vec![0; header[12] as usize];
            daemon.read_exact(&mut got).unwrap();
            assert_eq!(&got, payload, "{}", String::from_utf8_lossy(&got));
            for (kind, payload) in *answers {
                let mut message = kind.to_le_bytes().to_vec();
                message.extend([0; 8]);
                message.extend((payload.len() as u32).to_le_bytes());
                message.extend(*payload);
                // In pieces: nothing says that a read gives a whole message.
                for piece in message.chunks(7) {
                    daemon.write_all(piece).unwrap();
                }
            }
        }
    });
    (Xenstore::over(client), thread)
}

#[test]
fn requests_have_the_shapes_of_the_protocol() {
    let (mut store, daemon) = play(&[
        (2, b"/a\0", &[(2, b"value")]),
        (2, b"/b\0", &[(16, b"ENOENT\0")]),
        (11, b"/a\0text", &[(11, b"OK\0")]),
        (14, b"/a\0n0\0r8\0", &[(14, b"OK\0")]),
        (13, b"/a\0", &[(13, b"OK\0")]),
        (13, b"/b\0", &[(16, b"ENOENT\0")]),
        (11, b"/c\0", &[(16, b"EACCES\0")]),
    ]);
    assert_eq!(store.read("/a").unwrap().as_deref(), Some("value"));
    assert_eq!(store.read("/b").unwrap(), None);
    store.write("/a", "text").unwrap();
    store.set_permissions("/a", &["n0".to_owned(), "r8".to_owned()]).unwrap();
    store.remove("/a").unwrap();
    store.remove("/b").unwrap();
    let refused = store.write("/c", "").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(13));
    daemon.join().unwrap();
}

#[test]
fn events_between_an_answer_and_its_request_are_kept() {
    let (mut store, daemon) = play(&[
        (4, b"@releaseDomain\0@releaseDomain\0", &[(4, b"OK\0"), (15, b"@releaseDomain\0@releaseDomain\0")]),
        (
            2,
            b"/a\0",
            &[(15, b"/local/x/y\0/local/x\0"), (2, b"1"), (15, b"@releaseDomain\0@releaseDomain\0")],
        ),
    ]);
    store.watch("@releaseDomain").unwrap();
    assert_eq!(store.read("/a").unwrap().as_deref(), Some("1"));
    daemon.join().unwrap();
    // The daemon has gone. What it sent is told first, then its end.
    // A watch that fired twice is told once.
    assert_eq!(store.fired().unwrap(), ["@releaseDomain", "/local/x"]);
    assert_eq!(store.fired().unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn an_answer_that_was_not_asked_for_ends_the_connection() {
    let (mut store, daemon) = play(&[(2, b"/a\0", &[(11, b"OK\0")])]);
    assert_eq!(store.read("/a").unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    daemon.join().unwrap();
}
