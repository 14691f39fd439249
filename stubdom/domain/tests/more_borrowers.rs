// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xenstore says of more borrowers, and a xenstored that never stops.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use xenlend_broker_domain::more_borrowers::{MoreBorrowers, Turn, XenstoreLink, MESSAGES_PER_TURN};
use xenlend_broker_domain::start_error::StartError;
use xenlend_protocol::joining::Joining;
use xenlend_xen_abi::xenstore::{Header, MessageType, Reassembly};

/// A xenstored that answers when the test says so.
#[derive(Default)]
struct Store {
    /// Requests that find room.
    room: usize,
    sent: Vec<(MessageType, u32, Vec<u8>)>,
    next_id: u32,
    /// Bytes that have come.
    incoming: VecDeque<u8>,
    /// Messages that come of themselves, for ever.
    endless: Option<Vec<u8>>,
    /// Whole messages that were taken.
    taken: usize,
}

/// The test and what is tested both hold it.
type Shared = Rc<RefCell<Store>>;

struct Link(Shared);

impl XenstoreLink for Link {
    fn send(&mut self, kind: MessageType, parts: &[&[u8]]) -> Option<u32> {
        let mut store = self.0.borrow_mut();
        store.room = store.room.checked_sub(1)?;
        store.next_id += 1;
        let id = store.next_id;
        store.sent.push((kind, id, parts.concat()));
        Some(id)
    }

    fn receive<const N: usize>(&mut self, message: &mut Reassembly<N>) -> bool {
        let mut store = self.0.borrow_mut();
        if store.incoming.is_empty() {
            let more = store.endless.clone().unwrap_or_default();
            store.incoming.extend(more);
        }
        while message.missing_bytes().is_ok_and(|missing| missing > 0) {
            let Some(byte) = store.incoming.pop_front() else { return false };
            message.feed(byte);
        }
        store.taken += 1;
        assert!(store.taken <= 100 * MESSAGES_PER_TURN + MESSAGES_PER_TURN, "a turn never ends");
        true
    }
}

fn message(kind: MessageType, id: u32, payload: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 512];
    let length = Header::encode_message(kind, id, 0, &[payload], &mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn fires(path: &str) -> Vec<u8> {
    message(MessageType::WatchEvent, 0, format!("{path}\0token\0").as_bytes())
}

fn joining(vcpus: u16) -> Joining {
    let (rings, aperture_gfn) = ([8, 9, 10], 0x100_0000);
    Joining { lender: 0, rings, event_channel: 11, aperture_gfn, aperture_pages: 512, vcpus }
}

fn store(room: usize) -> (Shared, MoreBorrowers<Link>) {
    let store = Rc::new(RefCell::new(Store { room, ..Store::default() }));
    (store.clone(), MoreBorrowers::new(Link(store)))
}

#[test]
fn a_line_that_is_announced_is_read_and_gives_a_borrower() {
    let (store, mut more) = store(10);
    store.borrow_mut().incoming.extend([fires("xenlend/more"), fires("xenlend/more/17")].concat());
    assert_eq!(more.turn(), Turn::Idle);
    let sent = std::mem::take(&mut store.borrow_mut().sent);
    assert_eq!(sent, [(MessageType::Read, 1, b"xenlend/more/17\0".to_vec())]);
    assert_eq!(more.turn(), Turn::Idle, "nothing is asked twice");
    // Not the answer to this question.
    let line = joining(3).to_string();
    store.borrow_mut().incoming.extend(message(MessageType::Read, 5, line.as_bytes()));
    assert_eq!(more.turn(), Turn::Idle);
    store.borrow_mut().incoming.extend(message(MessageType::Read, 1, line.as_bytes()));
    let Turn::Join(config) = more.turn() else { panic!() };
    assert_eq!((config.borrower, config.vcpus, config.rings), (17, 3, [8, 9, 10]));
    assert!(store.borrow().sent.is_empty());
}

#[test]
fn a_line_that_is_gone_or_nonsense_is_none_and_the_next_one_is_read() {
    for (kind, payload) in [
        (MessageType::Error, &b"ENOENT\0"[..]),
        (MessageType::Read, b"lender=0"),
        (MessageType::Read, b"\xff\xfe"),
        (MessageType::Write, b"OK\0"),
    ] {
        let (store, mut more) = store(10);
        store.borrow_mut().incoming.extend([fires("xenlend/more/3"), fires("xenlend/more/4")].concat());
        assert_eq!(more.turn(), Turn::Idle);
        store.borrow_mut().incoming.extend(message(kind, 1, payload));
        assert_eq!(more.turn(), Turn::Idle, "{payload:?}");
        let last = store.borrow().sent.last().cloned();
        assert_eq!(last, Some((MessageType::Read, 2, b"xenlend/more/4\0".to_vec())));
    }
}

#[test]
fn a_xenstored_that_never_stops_gets_its_share_of_a_turn() {
    for endless in [
        fires("xenlend/more"),
        fires("xenlend/more/3"),
        fires("elsewhere"),
        message(MessageType::Read, 77, b"x"),
        message(MessageType::Error, 1, b"EINVAL\0"),
    ] {
        let (store, mut more) = store(100);
        store.borrow_mut().endless = Some(endless.clone());
        for turn in 1..=100 {
            let _ = more.turn();
            assert!(store.borrow().taken <= turn * MESSAGES_PER_TURN, "{endless:?}");
        }
        assert_eq!(more.turn(), Turn::More, "and it is not forgotten");
    }
}

#[test]
fn what_a_turn_leaves_behind_the_next_one_takes() {
    let (store, mut more) = store(10);
    let noise = fires("xenlend/more").repeat(MESSAGES_PER_TURN);
    store.borrow_mut().incoming.extend([noise, fires("xenlend/more/5")].concat());
    assert_eq!(more.turn(), Turn::More);
    assert_eq!(more.turn(), Turn::Idle);
    assert_eq!(store.borrow().sent.len(), 1);
}

#[test]
fn words_wait_for_room_and_keep_their_order() {
    let (store, mut more) = store(0);
    more.say(5, "failed", Some(&StartError::NotForMore("no room")));
    more.say(6, "connected", None);
    let _ = more.turn();
    assert!(store.borrow().sent.is_empty());
    for room in [2, 10] {
        store.borrow_mut().room = room;
        let _ = more.turn();
    }
    let said: Vec<_> = store.borrow().sent.iter().map(|(_, _, said)| said.clone()).collect();
    assert_eq!(
        said,
        [
            b"xenlend/broker/more/5/error\0one more borrower: no room".to_vec(),
            b"xenlend/broker/more/5/state\0failed".to_vec(),
            b"xenlend/broker/more/6/state\0connected".to_vec(),
        ]
    );
}
