// SPDX-License-Identifier: MIT OR Apache-2.0
//! Areas: memory of every kind that can be lent, and what can be done to it.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{bail, Context, Result};
use xenlend_touch::memory::{Memory, PAGE_BYTES};

use crate::drm::{Buffer, Card};
use crate::mapping::{memory_file, punch_hole, secret_file, Content, Window};
use crate::own_frames::OwnFrames;
use crate::unanswered::Unanswered;

/// Where an area's memory comes from.
#[derive(Debug)]
pub enum Source {
    /// This process's own memory.
    Anonymous,
    /// A file in memory.
    MemoryFile(File),
    /// A file that this process hides from everybody, the kernel too.
    Secret(File),
    /// Buffers of a graphics driver.
    Dumb(Card, Vec<Buffer>),
    /// The test driver that owns its frames.
    OwnFrames(OwnFrames),
    /// A file or a device's BAR, from an offset.
    File(File, u64),
    /// The same, mapped to be read only.
    ReadOnlyFile(File, u64),
    /// Frames of another domain: the mapping is made once.
    Foreign(File),
    /// A page that another domain has granted.
    Granted,
    /// This process's own memory, of which no page comes by itself.
    Unanswered(Unanswered),
}

/// A window with memory in it.
#[derive(Debug)]
pub struct Area {
    window: Window,
    source: Source,
}

impl Area {
    /// Maps all of a source into a new window.
    fn new(bytes: usize, source: Source) -> Result<Self> {
        let area = Self { window: Window::reserve(bytes)?, source };
        area.map_again()?;
        Ok(area)
    }

    /// This process's own memory.
    pub fn anonymous(bytes: usize) -> Result<Self> {
        Self::new(bytes, Source::Anonymous)
    }

    /// A file in memory.
    pub fn memory_file(bytes: usize) -> Result<Self> {
        Self::new(bytes, Source::MemoryFile(memory_file(bytes)?))
    }

    /// A file that this process hides from everybody.
    pub fn secret(bytes: usize) -> Result<Self> {
        Self::new(bytes, Source::Secret(secret_file(bytes)?))
    }

    /// Buffers of a graphics driver, one after the other. A driver with a display gets framebuffers.
    pub fn dumb(driver: &str, count: usize, display: bool) -> Result<Self> {
        let mut card = Card::open(driver)?;
        if display {
            card.find_display()?;
        }
        let buffers = (0..count).map(|_| card.create(display)).collect::<Result<Vec<_>>>()?;
        let bytes = buffers.iter().map(|buffer| buffer.bytes).sum();
        Self::new(bytes, Source::Dumb(card, buffers))
    }

    /// Pages of the driver that owns its frames.
    pub fn own_frames(pages: usize, contiguous: bool, notify_writes: bool) -> Result<Self> {
        let frames = OwnFrames::create(u32::try_from(pages)?, contiguous, notify_writes)?;
        Self::new(pages * PAGE_BYTES, Source::OwnFrames(frames))
    }

    /// A file or a BAR.
    pub fn file(path: &str, offset: u64, bytes: usize, read_only: bool) -> Result<Self> {
        let file =
            File::options().read(true).write(!read_only).open(path).with_context(|| path.to_owned())?;
        let source = if read_only { Source::ReadOnlyFile(file, offset) } else { Source::File(file, offset) };
        Self::new(bytes, source)
    }

    /// A page of another domain.
    pub fn foreign(domain: u16, gfn: u64) -> Result<Self> {
        let file = File::options().read(true).write(true).open("/dev/xen/privcmd").context("privcmd")?;
        let area = Self::new(PAGE_BYTES, Source::Foreign(file))?;
        let Source::Foreign(file) = &area.source else { bail!("not foreign") };
        crate::mapping::map_foreign(file, area.window, domain, gfn)?;
        Ok(area)
    }

    /// A page that another domain has granted.
    pub fn granted(domain: u16, reference: u32) -> Result<Self> {
        let file = File::options().read(true).write(true).open("/dev/xen/gntdev").context("gntdev")?;
        let offset = crate::mapping::name_grant(&file, domain, reference)?;
        let window = Window::reserve(PAGE_BYTES)?;
        window.map(0, PAGE_BYTES, Content::File(file.as_fd(), offset))?;
        Ok(Self { window, source: Source::Granted })
    }

    /// Memory of which no page comes by itself.
    pub fn unanswered(bytes: usize) -> Result<Self> {
        let window = Window::reserve(bytes)?;
        window.map(0, bytes, Content::Anonymous)?;
        Ok(Self { window, source: Source::Unanswered(Unanswered::register(window)?) })
    }

    /// Brings pages of such memory: copies of another area's.
    pub fn answer(&self, offset: usize, bytes: usize, from: &Self) -> Result<()> {
        match &self.source {
            Source::Unanswered(unanswered) => unanswered.answer(self.window, offset, bytes, from.window),
            other => bail!("{other:?} answers by itself"),
        }
    }

    /// Its window.
    pub fn window(&self) -> Window {
        self.window
    }

    /// Its memory.
    pub fn memory(&self) -> Memory {
        self.window.memory()
    }

    /// Maps everything again, over whatever is in the window now.
    pub fn map_again(&self) -> Result<()> {
        let (window, bytes) = (self.window, self.window.bytes());
        match &self.source {
            Source::Anonymous => window.map(0, bytes, Content::Anonymous),
            Source::Unanswered(_) => bail!("it would answer afterwards"),
            Source::Granted => bail!("a grant is mapped once"),
            Source::MemoryFile(file) | Source::Secret(file) | Source::Foreign(file) => {
                window.map(0, bytes, Content::File(file.as_fd(), 0))
            }
            Source::OwnFrames(frames) => window.map(0, bytes, Content::File(frames.as_fd(), 0)),
            Source::File(file, offset) => window.map(0, bytes, Content::File(file.as_fd(), *offset)),
            Source::ReadOnlyFile(file, offset) => {
                window.map(0, bytes, Content::ReadOnlyFile(file.as_fd(), *offset))
            }
            Source::Dumb(card, buffers) => {
                let mut start = 0;
                for buffer in buffers {
                    window.map(start, buffer.bytes, Content::File(card.as_fd(), buffer.offset))?;
                    start += buffer.bytes;
                }
                Ok(())
            }
        }
    }

    /// Moves the mapping elsewhere; the window that was lent stays behind, empty.
    pub fn move_away(&self) -> Result<Window> {
        self.window.move_away(self.window.bytes())
    }

    /// Frees the memory of a part.
    pub fn punch(&self, offset: usize, bytes: usize) -> Result<()> {
        match &self.source {
            Source::MemoryFile(file) => punch_hole(file, offset as u64, bytes as u64),
            Source::Anonymous => self.window.drop_entries(offset, bytes),
            other => bail!("no holes in {other:?}"),
        }
    }

    /// Takes the frames of a part away, contents kept.
    pub fn revoke(&self, offset: usize, bytes: usize) -> Result<()> {
        match &self.source {
            Source::OwnFrames(frames) => {
                frames.zap((offset / PAGE_BYTES) as u32, (bytes / PAGE_BYTES) as u32)
            }
            Source::Anonymous | Source::Unanswered(_) => bail!("the contents would be lost"),
            // A mapping of device memory takes no advice.
            Source::Dumb(..) | Source::Foreign(_) => self.map_again(),
            _ => self.window.drop_entries(offset, bytes),
        }
    }

    /// The driver that owns its frames.
    pub fn frames(&self) -> Result<&OwnFrames> {
        match &self.source {
            Source::OwnFrames(frames) => Ok(frames),
            other => bail!("{other:?} does not own its frames"),
        }
    }

    /// The card and its buffers.
    pub fn buffers(&self) -> Result<(&Card, &[Buffer])> {
        match &self.source {
            Source::Dumb(card, buffers) => Ok((card, buffers)),
            other => bail!("{other:?} has no buffers"),
        }
    }
}
