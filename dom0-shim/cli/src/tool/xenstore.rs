// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client of xenstore over Linux's /dev/xen/xenbus.
//!
//! One request at a time; watch events that come in between are remembered.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use xenlend_xen_abi::xenstore::{
    error_number, watch_event, Header, MessageType, Reassembly, HEADER_BYTES, PAYLOAD_BYTES_MAX,
};

const DEVICE: &str = "/dev/xen/xenbus";
/// xenstored answers at once or is not there.
const PATIENCE: Duration = Duration::from_secs(10);

/// Messages that one call takes.
const MESSAGES_AT_ONCE: u32 = 256;

/// A connection.
pub struct Xenstore<C = File> {
    channel: C,
    incoming: Reassembly<PAYLOAD_BYTES_MAX>,
    events: VecDeque<String>,
    is_flooded: bool,
}

impl Xenstore<File> {
    /// Opens the device.
    pub fn open() -> io::Result<Self> {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let channel = OpenOptions::new().read(true).write(true).custom_flags(flags).open(DEVICE)?;
        Ok(Self::over(channel))
    }
}

impl<C: Read + Write + AsFd> Xenstore<C> {
    /// Over a channel that does not block.
    pub fn over(channel: C) -> Self {
        Self { channel, incoming: Reassembly::new(), events: VecDeque::new(), is_flooded: false }
    }

    /// The value of a node; `None` if there is no such node.
    pub fn read(&mut self, path: &str) -> io::Result<Option<String>> {
        match self.request(MessageType::Read, &[path.as_bytes(), b"\0"]) {
            Ok(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a node, made if need be.
    pub fn write(&mut self, path: &str, value: &str) -> io::Result<()> {
        self.request(MessageType::Write, &[path.as_bytes(), b"\0", value.as_bytes()]).map(drop)
    }

    /// Sets who may do what with a node, the owner first.
    pub fn set_permissions(&mut self, path: &str, permissions: &[String]) -> io::Result<()> {
        let mut parts = vec![path.as_bytes(), b"\0"];
        for permission in permissions {
            parts.extend([permission.as_bytes(), b"\0"]);
        }
        self.request(MessageType::SetPermissions, &parts).map(drop)
    }

    /// Removes a node and everything below; fine if there is none.
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        match self.request(MessageType::Remove, &[path.as_bytes(), b"\0"]) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Has xenstored tell of every change at or below this path. It tells once at once.
    pub fn watch(&mut self, path: &str) -> io::Result<()> {
        self.request(MessageType::Watch, &[path.as_bytes(), b"\0", path.as_bytes(), b"\0"]).map(drop)
    }

    /// The watches (by their paths) that have fired since the last call, each once; does not wait. An error comes
    /// after everything that came before it.
    pub fn fired(&mut self) -> io::Result<Vec<String>> {
        let ended = self.take_all();
        match ended {
            Err(error) if self.events.is_empty() => Err(error),
            _ => Ok(self.events.drain(..).collect()),
        }
    }

    /// Whether more came at once than anybody honest sends. The kernel keeps what is not taken, without a
    /// limit, until the connection is closed: close it.
    pub fn is_flooded(&self) -> bool {
        self.is_flooded
    }

    fn take_all(&mut self) -> io::Result<()> {
        // A guest can write a node that is watched as fast as it likes.
        for _ in 0..MESSAGES_AT_ONCE {
            let Some((header, payload)) = self.receive()? else { return Ok(()) };
            self.remember(header, &payload)?;
        }
        self.is_flooded = true;
        Ok(())
    }

    fn request(&mut self, kind: MessageType, parts: &[&[u8]]) -> io::Result<Vec<u8>> {
        let mut message = vec![0; HEADER_BYTES + PAYLOAD_BYTES_MAX];
        let length = Header::encode_message(kind, 0, 0, parts, &mut message)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{error:?}")))?;
        let deadline = Instant::now() + PATIENCE;
        let mut rest = &message[..length];
        while !rest.is_empty() {
            match self.channel.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&self.channel, PollFlags::OUT, deadline)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        loop {
            let Some((header, payload)) = self.receive()? else {
                wait(&self.channel, PollFlags::IN, deadline)?;
                continue;
            };
            // The kernel does not give back our request id for all types; the type tells as much.
            match MessageType::from_number(header.kind) {
                Some(MessageType::Error) => {
                    return Err(io::Error::from_raw_os_error(error_number(&payload).into()))
                }
                Some(answer) if answer == kind => return Ok(payload),
                _ => self.remember(header, &payload)?,
            }
        }
    }

    fn remember(&mut self, header: Header, payload: &[u8]) -> io::Result<()> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        if MessageType::from_number(header.kind) != Some(MessageType::WatchEvent) {
            return Err(bad("an answer to nothing that was asked"));
        }
        let (_, token) = watch_event(payload).map_err(|_| bad("a watch event that is none"))?;
        let token = String::from_utf8_lossy(token).into_owned();
        if !self.events.contains(&token) {
            self.events.push_back(token);
        }
        Ok(())
    }

    /// The next whole message, if it is there.
    fn receive(&mut self) -> io::Result<Option<(Header, Vec<u8>)>> {
        let bad = |_| io::Error::new(io::ErrorKind::InvalidData, "what xenstored sends is no message");
        loop {
            let missing = self.incoming.missing_bytes().map_err(bad)?;
            if missing == 0 {
                let (header, payload, _) = self.incoming.message().map_err(bad)?;
                let message = (header, payload.to_vec());
                self.incoming.reset();
                return Ok(Some(message));
            }
            let mut bytes = vec![0; missing];
            match self.channel.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => bytes[..length].iter().for_each(|byte| self.incoming.feed(*byte)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn wait(channel: &impl AsFd, what: PollFlags, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "xenstored does not answer"));
    }
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    match poll(&mut [PollFd::new(channel, what)], Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl<C: AsFd> AsFd for Xenstore<C> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}
