// SPDX-License-Identifier: MIT OR Apache-2.0
//! A broker that attacks its lender, for scenarios. Only with the Cargo feature `faults`.

use xenlend_protocol::codec;
use xenlend_protocol::message::{ToBroker, MAX_MESSAGE_BYTES};
use xenlend_protocol::ring::layout::{ALIGNMENT, CAPACITY, HEADER_BYTES, MAX_FRAME_BYTES};
use xenlend_protocol::ring::shared_page::{Direction, SharedRing};
use xenlend_protocol::ring::RingMemory;
use xenlend_xen_abi::event_channel::Port;

use crate::window::WindowFrame;
use crate::xen::{event_channel, sched, shared_info, time};

/// Bytes of the data area changed at a time.
const WORD: usize = ALIGNMENT as usize;
/// Changes between two notices.
const CHANGES: u32 = 256;
/// Nanoseconds between two signs of life: inside the lender's deadline of 3 s, also on a slow machine.
const PACE_NS: u64 = 2_500_000_000;

/// How.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// Notifies without end, and does nothing else.
    Flood,
    /// What was said is unsaid, and what was taken is not.
    Backwards,
    /// Noise for messages.
    Garbage,
    /// Messages that change while they are read.
    Changing,
    /// Takes one word out of the ring just before each deadline, and never a whole message.
    Creep,
}

/// The pages of the link, written to past the rings' ends.
pub struct Pages {
    to_lender: SharedRing,
    from_lender: SharedRing,
    port: Port,
    noise: u64,
}

impl Pages {
    /// Of the same pages and port as the link's.
    ///
    /// # Safety
    /// As for `Link::new`: the pages are shown at these frames for good. The link's rings are the only other
    /// user, by atomics too.
    pub unsafe fn new(pages: [WindowFrame; 3], port: Port) -> Self {
        let [control, to_broker, to_lender] = pages.map(WindowFrame::pointer);
        // SAFETY: as the caller promises.
        let from_lender = unsafe { SharedRing::new(control, to_broker, Direction::ToBroker) };
        // SAFETY: as above.
        let to_lender = unsafe { SharedRing::new(control, to_lender, Direction::ToLender) };
        Self { to_lender, from_lender, port, noise: 0x9e37_79b9_7f4a_7c15 }
    }

    /// Attacks until somebody stops this domain.
    pub fn attack(&mut self, how: Attack) -> ! {
        loop {
            match how {
                Attack::Flood | Attack::Changing => {}
                Attack::Backwards => self.go_back(),
                Attack::Garbage => self.say_noise(),
                Attack::Creep => {
                    wait_for_pace(self.port);
                    self.take_word();
                }
            }
            event_channel::notify(self.port);
            if how == Attack::Changing {
                // The lender may be reading from here on.
                for _ in 0..CHANGES {
                    self.change();
                }
            }
        }
    }

    /// Whether the lender's next message is an `Invalidate`. It stays in the ring.
    pub fn is_invalidate_next(&self) -> bool {
        let consumed = self.from_lender.load_consumed();
        let available = self.from_lender.load_produced().wrapping_sub(consumed).min(MAX_FRAME_BYTES);
        let mut frame = [0; MAX_FRAME_BYTES as usize];
        for (word, at) in frame.chunks_exact_mut(WORD).zip((0..available).step_by(WORD)) {
            self.from_lender.read(consumed.wrapping_add(at) % CAPACITY, word);
        }
        let (header, body) = frame.split_at(HEADER_BYTES as usize);
        let length = header.try_into().map_or(0, u32::from_le_bytes) as usize;
        let message = body.get(..length.min(MAX_MESSAGE_BYTES)).map(codec::decode::<ToBroker>);
        matches!(message, Some(Ok(ToBroker::Invalidate { .. })))
    }

    /// Moves `consumed` on by one word, if there is one.
    fn take_word(&self) {
        let consumed = self.from_lender.load_consumed();
        if self.from_lender.load_produced() != consumed {
            self.from_lender.store_consumed(consumed.wrapping_add(ALIGNMENT));
        }
    }

    fn go_back(&self) {
        let step = ALIGNMENT;
        self.to_lender.store_produced(self.to_lender.load_produced().wrapping_sub(step));
        self.from_lender.store_consumed(self.from_lender.load_consumed().wrapping_sub(step));
    }

    fn say_noise(&mut self) {
        for offset in (0..CAPACITY).step_by(WORD) {
            let word = self.next().to_le_bytes();
            self.to_lender.write(offset, &word);
        }
        self.to_lender.store_produced(self.to_lender.load_produced().wrapping_add(64));
    }

    /// Another length, kind and body behind what the lender has read, and as many bytes as it may be told of.
    fn change(&mut self) {
        let consumed = self.to_lender.load_consumed();
        for word in 0..8 {
            let noise = self.next();
            // Small numbers are lengths and kinds that may pass.
            let bytes = (noise & 0x0303_0303_0000_003f).to_le_bytes();
            let offset = consumed.wrapping_add(word * ALIGNMENT) % CAPACITY;
            self.to_lender.write(offset & !(ALIGNMENT - 1), &bytes);
        }
        let more = (self.next() as u32 & 0x38) + ALIGNMENT;
        self.to_lender.store_produced(consumed.wrapping_add(more));
    }

    /// Numbers without a pattern that anybody could rely on (xorshift).
    fn next(&mut self) -> u64 {
        self.noise ^= self.noise << 13;
        self.noise ^= self.noise >> 7;
        self.noise ^= self.noise << 17;
        self.noise
    }
}

/// Sleeps for [`PACE_NS`], whatever the lender says on this port meanwhile.
pub fn wait_for_pace(port: Port) {
    let until = time::now_ns().unwrap_or(0) + PACE_NS;
    while time::now_ns().is_some_and(|now| now < until) {
        sched::poll(&mut [port], until);
        shared_info::take_pending(port);
    }
}
