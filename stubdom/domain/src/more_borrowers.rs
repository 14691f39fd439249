// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xenstore says of borrowers that are to be served besides the first, and what is said there of them.
//!
//! The lender's tool writes a borrower's line into `xenlend/more/BORROWER` once everything is ready for it, and
//! reads in `xenlend/broker/more/BORROWER/state` what became of it. Nothing here waits: revocations come first.

use core::fmt::Write;

use heapless::{Deque, String, Vec};
use xenlend_protocol::joining::Joining;
use xenlend_xen_abi::xenstore::{watch_event, MessageType, Reassembly};
use xenlend_xen_abi::DomainId;

use crate::config::{Config, VALUE_BYTES};
use crate::start_error::StartError;

/// Where the lines are.
pub const FOLDER: &str = "xenlend/more";
/// Messages of xenstored in one turn: whatever it sends, the borrowers that are served have theirs.
pub const MESSAGES_PER_TURN: usize = 8;
/// Lines that have been announced and not read. The tool has one in work for each borrower.
const ANNOUNCED: usize = 8;
/// Words that have not been sent.
const UNSENT: usize = 16;
/// The longest of them.
const WORD_BYTES: usize = 160;
const PATH_BYTES: usize = 48;

/// The connection with xenstored. Nothing of it waits.
pub trait XenstoreLink {
    /// Sends a request if there is room for all of it. Gives its number.
    fn send(&mut self, kind: MessageType, parts: &[&[u8]]) -> Option<u32>;

    /// Takes what has come of the next message. True if that is whole.
    fn receive<const N: usize>(&mut self, message: &mut Reassembly<N>) -> bool;
}

/// What a turn has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing more until an event.
    Idle,
    /// There may be more messages.
    More,
    /// This borrower is to be served.
    Join(Config),
}

/// The connection with the tool.
pub struct MoreBorrowers<X> {
    xenstore: X,
    reply: Reassembly<VALUE_BYTES>,
    announced: Vec<DomainId, ANNOUNCED>,
    /// The request for the first of these lines.
    asked: Option<u32>,
    unsent: Deque<(String<PATH_BYTES>, String<WORD_BYTES>), UNSENT>,
}

impl<X: XenstoreLink> MoreBorrowers<X> {
    /// Listens to what a watch of [`FOLDER`] tells.
    pub fn new(xenstore: X) -> Self {
        Self { xenstore, reply: Reassembly::new(), announced: Vec::new(), asked: None, unsent: Deque::new() }
    }

    /// The connection.
    pub fn link(&self) -> &X {
        &self.xenstore
    }

    /// Goes on as far as it can be done now, in at most [`MESSAGES_PER_TURN`] messages.
    pub fn turn(&mut self) -> Turn {
        while let Some((path, word)) = self.unsent.front() {
            let parts: [&[u8]; 3] = [path.as_bytes(), b"\0", word.as_bytes()];
            if self.xenstore.send(MessageType::Write, &parts).is_none() {
                break;
            }
            self.unsent.pop_front();
        }
        let turn = self.take_messages();
        if let (None, Some(borrower)) = (self.asked, self.announced.first()) {
            let mut path = String::<PATH_BYTES>::new();
            // A number is short enough.
            let _ = write!(path, "{FOLDER}/{borrower}");
            self.asked = self.xenstore.send(MessageType::Read, &[path.as_bytes(), b"\0"]);
        }
        turn
    }

    /// Says how the service of a borrower stands, and why if it has failed.
    pub fn say(&mut self, borrower: DomainId, state: &str, error: Option<&StartError>) {
        if let Some(error) = error {
            self.queue(borrower, "error", format_args!("{error}"));
        }
        self.queue(borrower, "state", format_args!("{state}"));
    }

    fn queue(&mut self, borrower: DomainId, name: &str, words: core::fmt::Arguments<'_>) {
        let (mut path, mut word) = (String::new(), String::new());
        let _ = write!(path, "xenlend/broker/more/{borrower}/{name}");
        // A text that is too long ends early.
        let _ = word.write_fmt(words);
        // With that many unsent nobody reads them: the tool's wait ends by itself.
        let _ = self.unsent.push_back((path, word));
    }

    fn take_messages(&mut self) -> Turn {
        for _ in 0..MESSAGES_PER_TURN {
            if !self.xenstore.receive(&mut self.reply) {
                return Turn::Idle;
            }
            let found = self.take_message();
            self.reply.reset();
            if let Some(config) = found {
                return Turn::Join(config);
            }
        }
        Turn::More
    }

    fn take_message(&mut self) -> Option<Config> {
        let (header, payload, _) = self.reply.message().ok()?;
        if header.kind == MessageType::WatchEvent as u32 {
            // One that finds no place is announced when it is written again.
            if let Some(borrower) = announced(payload).filter(|one| !self.announced.contains(one)) {
                let _ = self.announced.push(borrower);
            }
            return None;
        }
        if self.asked != Some(header.request_id) {
            return None;
        }
        self.asked = None;
        if self.announced.is_empty() {
            return None;
        }
        let borrower = self.announced.remove(0);
        // A line that is gone, or is none yet.
        let line = core::str::from_utf8(payload).ok().filter(|_| header.kind == MessageType::Read as u32);
        line.and_then(Joining::parse).map(|joining| Config::of(borrower, joining))
    }
}

/// The borrower whose line a watch event is about.
fn announced(payload: &[u8]) -> Option<DomainId> {
    let (path, _) = watch_event(payload).ok()?;
    core::str::from_utf8(path).ok()?.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()
}
