// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lender's process, its page table and the frames behind it, with what each byte has been.
//!
//! Of each page 64 bytes are looked at: the first 32 and the last 32, where everything of interest happens.

use crate::random::Random;
use crate::xen::{
    bar_frame, frame_index, ram_frame, zero_frame, BLOCK, FRAMES, RAM_FRAMES, SPANS, ZERO_FRAMES,
};

/// Pages of the process: ordinary memory from 0 on, a buffer of the GPU driver from [`BUFFER`] on.
pub const USER_PAGES: u32 = 1024;
/// Pages of ordinary memory.
pub const ORDINARY: u32 = 16;
/// First page of the driver's buffer, which has 2 MiB and moves as a whole.
pub const BUFFER: u32 = 512;
/// Bytes of a page that are looked at.
pub const CELLS: usize = 64;

/// Contents of a page.
pub type Content = [u8; CELLS];

/// The cell of an offset in a page, if it is looked at.
pub fn cell_of(offset: u32) -> Option<usize> {
    match offset {
        0..=31 => Some(offset as usize),
        4064..=4095 => Some((offset - 4032) as usize),
        _ => None,
    }
}

/// Where a page of the process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Home {
    /// Nothing is mapped there.
    Unmapped,
    /// Swapped out, or evicted by the driver.
    Away(Box<Content>),
    /// In this frame.
    Frame(u64),
}

#[derive(Clone, Debug)]
struct Frame {
    content: Content,
    /// In use, by whomever.
    used: bool,
    /// The page that the page table has in it.
    home_of: Option<u32>,
    /// The page that may be lent in it: until the notifier of whoever takes it away has returned.
    lendable: Option<u32>,
}

/// A byte that a vCPU's access is about.
#[derive(Clone, Debug)]
pub struct Byte {
    /// Page of the process, if the access began inside a region.
    pub user: Option<u32>,
    /// Page of the aperture.
    pub page: u32,
    /// Place in the page's content.
    pub cell: usize,
    /// What is written; none for a read.
    pub written: Option<u8>,
    /// What it has been since the access began.
    pub seen: Vec<u8>,
    /// Whether what is written has been there since then.
    pub applied: bool,
}

/// The lender's process.
#[derive(Debug)]
pub struct Memory {
    frames: Vec<Frame>,
    homes: Vec<Home>,
    busy: Vec<bool>,
    /// The process has ended.
    pub gone: bool,
    /// Somebody unmaps: no lookup may begin.
    pub unmapping: bool,
    /// Operations that have called notifiers and not ended.
    pub operations: u32,
    /// Accesses of the vCPUs that have begun and not ended.
    pub accesses: Vec<Vec<Byte>>,
    /// Changes with everything that decides what may be lent.
    pub version: u64,
}

impl Memory {
    /// A process whose memory is away.
    pub fn new(vcpus: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let home = |page: u32| {
            let mut content = [0; CELLS];
            for byte in &mut content {
                *byte = random.bits() as u8 | 1;
            }
            match page {
                0..ORDINARY | BUFFER.. => Home::Away(Box::new(content)),
                _ => Home::Unmapped,
            }
        };
        let frame = Frame { content: [0xdd; CELLS], used: false, home_of: None, lendable: None };
        Self {
            frames: vec![frame; FRAMES],
            homes: (0..USER_PAGES).map(home).collect(),
            busy: vec![false; USER_PAGES as usize],
            gone: false,
            unmapping: false,
            operations: 0,
            accesses: vec![Vec::new(); vcpus],
            version: 1,
        }
    }

    /// Where a page is.
    pub fn home(&self, user: u32) -> &Home {
        self.homes.get(user as usize).unwrap_or(&Home::Unmapped)
    }

    /// The page that may be lent in a frame.
    pub fn lendable(&self, mfn: u64) -> Option<u32> {
        self.frames.get(frame_index(mfn)?)?.lendable
    }

    /// Whether any of these pages is being moved or taken away.
    pub fn is_busy(&self, first: u32, count: u32) -> bool {
        self.busy[first as usize..(first + count) as usize].contains(&true)
    }

    /// Marks pages as being moved or taken away, or not any more.
    pub fn set_busy(&mut self, first: u32, count: u32, busy: bool) {
        self.busy[first as usize..(first + count) as usize].fill(busy);
    }

    /// The notifiers for these pages have returned: nobody may touch the frames any more.
    pub fn give_back(&mut self, first: u32, count: u32) {
        for user in first..first + count {
            if let Home::Frame(mfn) = self.homes[user as usize] {
                self.frame(mfn).lendable = None;
            }
        }
        self.version += 1;
    }

    /// Takes pages out of their frames, which are somebody else's from now on.
    pub fn take_away(&mut self, first: u32, count: u32) {
        for user in first..first + count {
            if let Home::Frame(mfn) = self.homes[user as usize] {
                let frame = self.frame(mfn);
                let content = std::mem::replace(&mut frame.content, [0xdd; CELLS]);
                frame.used = false;
                (frame.home_of, frame.lendable) = (None, None);
                self.homes[user as usize] = Home::Away(Box::new(content));
            }
        }
        self.version += 1;
    }

    /// Unmaps pages.
    pub fn unmap(&mut self, first: u32, count: u32) {
        self.take_away(first, count);
        self.homes[first as usize..(first + count) as usize].fill(Home::Unmapped);
    }

    /// Maps new pages where nothing is.
    pub fn map_new(&mut self, first: u32, count: u32) {
        for user in first..first + count {
            if self.homes[user as usize] == Home::Unmapped && !self.gone {
                self.homes[user as usize] = Home::Away(Box::new([0; CELLS]));
                (0..CELLS).for_each(|cell| self.note(user, cell, 0));
            }
        }
    }

    /// Brings a page, or the whole buffer, into memory; `choice` says where. False if no frame is free.
    pub fn bring_in(&mut self, user: u32, choice: u32) -> bool {
        let (first, count) = if user >= BUFFER { (BUFFER, BLOCK) } else { (user, 1) };
        if !matches!(self.home(user), Home::Away(_)) {
            return true;
        }
        let free = |frame: &u64| !self.frames[frame_index(*frame).unwrap_or(0)].used;
        let candidates: Vec<u64> = if user >= BUFFER {
            (0..SPANS).map(bar_frame).filter(free).collect()
        } else {
            (0..RAM_FRAMES).map(ram_frame).filter(free).collect()
        };
        let Some(chosen) = candidates.get(choice as usize % candidates.len().max(1)).copied() else {
            return false;
        };
        for (user, mfn) in (first..first + count).zip(chosen..) {
            let Home::Away(content) = std::mem::replace(&mut self.homes[user as usize], Home::Frame(mfn))
            else {
                continue;
            };
            *self.frame(mfn) =
                Frame { content: *content, used: true, home_of: Some(user), lendable: Some(user) };
        }
        self.version += 1;
        true
    }

    /// A page of zeros of the lender's kernel. None if no frame is free.
    pub fn new_zeros(&mut self) -> Option<u64> {
        let free = |mfn: &u64| frame_index(*mfn).is_some_and(|at| !self.frames[at].used);
        let mfn = (0..ZERO_FRAMES).map(zero_frame).find(free)?;
        *self.frame(mfn) = Frame { content: [0; CELLS], used: true, home_of: None, lendable: None };
        self.version += 1;
        Some(mfn)
    }

    /// Nobody sees a page of zeros any more: its frame is somebody else's.
    pub fn free_zeros(&mut self, mfn: u64) {
        *self.frame(mfn) = Frame { content: [0xdd; CELLS], used: false, home_of: None, lendable: None };
        self.version += 1;
    }

    /// Whether a frame is a page of zeros.
    pub fn is_zeros(&self, mfn: u64) -> bool {
        let used = |at: usize| self.frames[at].used;
        mfn >= zero_frame(0) && mfn < zero_frame(ZERO_FRAMES) && frame_index(mfn).is_some_and(used)
    }

    /// The home of a page, if the process can touch it at once.
    fn content(&mut self, user: u32) -> Option<&mut Content> {
        match self.homes.get_mut(user as usize)? {
            Home::Unmapped => None,
            Home::Away(content) => Some(content),
            Home::Frame(mfn) => self.frames.get_mut(frame_index(*mfn)?).map(|frame| &mut frame.content),
        }
    }

    /// A byte of a page, wherever it is.
    pub fn read(&mut self, user: u32, cell: usize) -> Option<u8> {
        self.content(user).map(|content| content[cell])
    }

    /// The process, or the lender's kernel for the borrower, writes a byte.
    pub fn write(&mut self, user: u32, cell: usize, value: u8) {
        if let Some(content) = self.content(user) {
            content[cell] = value;
            self.note(user, cell, value);
        }
    }

    /// Reads a frame as a vCPU does through the second stage.
    pub fn read_frame(&mut self, mfn: u64, cell: usize) -> u8 {
        self.frame(mfn).content[cell]
    }

    /// Writes to a frame as a vCPU does through the second stage.
    pub fn write_frame(&mut self, mfn: u64, cell: usize, value: u8) {
        let frame = self.frame(mfn);
        frame.content[cell] = value;
        if let Some(user) = frame.home_of {
            self.note(user, cell, value);
        }
    }

    /// A vCPU's access begins.
    pub fn begin(&mut self, vcpu: usize, bytes: Vec<Byte>) {
        let mut bytes = bytes;
        for byte in &mut bytes {
            byte.seen = byte.user.and_then(|user| self.read(user, byte.cell)).into_iter().collect();
        }
        self.accesses[vcpu] = bytes;
    }

    fn note(&mut self, user: u32, cell: usize, value: u8) {
        for byte in self.accesses.iter_mut().flatten() {
            if byte.user == Some(user) && byte.cell == cell {
                byte.seen.push(value);
                byte.applied |= byte.written == Some(value);
            }
        }
    }

    fn frame(&mut self, mfn: u64) -> &mut Frame {
        let index = frame_index(mfn).expect("only frames that exist are ever used");
        &mut self.frames[index]
    }
}
