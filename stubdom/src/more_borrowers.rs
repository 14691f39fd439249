// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xenstore says of borrowers that are to be served besides the first, and what is said there of them.
//!
//! The lender's tool writes a borrower's line into `xenlend/more/BORROWER` once everything is ready for it, and
//! reads in `xenlend/broker/more/BORROWER/state` what became of it. Nothing here waits: revocations come first.

use core::fmt::Write;

use heapless::{Deque, String, Vec};
use xenlend_protocol::joining::Joining;
use xenlend_xen_abi::event_channel::Port;
use xenlend_xen_abi::xenstore::{watch_event, MessageType, Reassembly};
use xenlend_xen_abi::DomainId;

use crate::config::Config;
use crate::start_error::StartError;
use crate::xen::xenstore::{Xenstore, VALUE_BYTES};

/// Where the lines are.
const FOLDER: &str = "xenlend/more";
/// Lines that have been announced and not read. The tool has one in work for each borrower.
const ANNOUNCED: usize = 8;
/// Words that have not been sent.
const UNSENT: usize = 16;
/// The longest of them.
const WORD_BYTES: usize = 160;
const PATH_BYTES: usize = 48;

/// The connection with the tool.
pub struct MoreBorrowers {
    xenstore: Xenstore,
    reply: Reassembly<VALUE_BYTES>,
    announced: Vec<DomainId, ANNOUNCED>,
    /// The request for the first of these lines.
    asked: Option<u32>,
    unsent: Deque<(String<PATH_BYTES>, String<WORD_BYTES>), UNSENT>,
}

impl MoreBorrowers {
    /// Has xenstored tell of lines from now on.
    ///
    /// # Errors
    /// If xenstored does not want that.
    pub fn announce(xenstore: &mut Xenstore) -> Result<(), StartError> {
        xenstore.watch(FOLDER)?;
        xenstore.write("xenlend/broker/feature-more", b"1")
    }

    /// Listens.
    pub fn new(xenstore: Xenstore) -> Self {
        Self { xenstore, reply: Reassembly::new(), announced: Vec::new(), asked: None, unsent: Deque::new() }
    }

    /// The port to wait for.
    pub fn port(&self) -> Port {
        self.xenstore.port()
    }

    /// Goes on as far as it can be done now. Gives a borrower to be served, if there is one.
    pub fn turn(&mut self) -> Option<Config> {
        while let Some((path, word)) = self.unsent.front() {
            let parts: [&[u8]; 3] = [path.as_bytes(), b"\0", word.as_bytes()];
            if self.xenstore.send(MessageType::Write, &parts).is_none() {
                break;
            }
            self.unsent.pop_front();
        }
        let found = self.take_answers();
        if let (None, Some(borrower)) = (self.asked, self.announced.first()) {
            let mut path = String::<PATH_BYTES>::new();
            // A number is short enough.
            let _ = write!(path, "{FOLDER}/{borrower}");
            self.asked = self.xenstore.send(MessageType::Read, &[path.as_bytes(), b"\0"]);
        }
        found
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

    fn take_answers(&mut self) -> Option<Config> {
        let mut found = None;
        while found.is_none() && self.xenstore.receive(&mut self.reply) {
            if let Ok((header, payload, _)) = self.reply.message() {
                if header.kind == MessageType::WatchEvent as u32 {
                    // One that finds no place is announced when it is written again.
                    if let Some(borrower) = announced(payload).filter(|one| !self.announced.contains(one)) {
                        let _ = self.announced.push(borrower);
                    }
                } else if self.asked == Some(header.request_id) {
                    self.asked = None;
                    let borrower = self.announced.remove(0);
                    // A line that is gone, or is none yet.
                    let line = core::str::from_utf8(payload)
                        .ok()
                        .filter(|_| header.kind == MessageType::Read as u32)
                        .and_then(Joining::parse);
                    found = line.map(|joining| Config::of(borrower, joining));
                }
            }
            self.reply.reset();
        }
        found
    }
}

/// The borrower whose line a watch event is about.
fn announced(payload: &[u8]) -> Option<DomainId> {
    let (path, _) = watch_event(payload).ok()?;
    core::str::from_utf8(path).ok()?.strip_prefix(FOLDER)?.strip_prefix('/')?.parse().ok()
}
