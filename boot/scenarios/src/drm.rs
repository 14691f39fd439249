// SPDX-License-Identifier: MIT OR Apache-2.0
//! Dumb buffers and the display of a card, through the DRM ioctls of the kernel's uAPI
//! (drm.h, drm_mode.h): the few that the scenarios need, with their structures.

use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{bail, Context, Result};

use crate::mapping::check;

#[repr(C)]
#[derive(Default)]
struct Version {
    major: i32,
    minor: i32,
    patch: i32,
    name_length: usize,
    name: u64,
    date_length: usize,
    date: u64,
    description_length: usize,
    description: u64,
}

#[repr(C)]
#[derive(Default)]
struct CreateDumb {
    height: u32,
    width: u32,
    bits_per_pixel: u32,
    flags: u32,
    handle: u32,
    pitch: u32,
    size: u64,
}

#[repr(C)]
#[derive(Default)]
struct MapDumb {
    handle: u32,
    padding: u32,
    offset: u64,
}

#[repr(C)]
#[derive(Default)]
struct Framebuffer {
    id: u32,
    width: u32,
    height: u32,
    pitch: u32,
    bits_per_pixel: u32,
    depth: u32,
    handle: u32,
}

#[repr(C)]
#[derive(Default)]
struct Resources {
    framebuffers: u64,
    crtcs: u64,
    connectors: u64,
    encoders: u64,
    framebuffer_count: u32,
    crtc_count: u32,
    connector_count: u32,
    encoder_count: u32,
    size_limits: [u32; 4],
}

#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Mode {
    clock: u32,
    horizontal: [u16; 5],
    vertical: [u16; 5],
    refresh: u32,
    flags: u32,
    kind: u32,
    name: [u8; 32],
}

#[repr(C)]
#[derive(Default)]
struct Connector {
    encoders: u64,
    modes: u64,
    properties: u64,
    property_values: u64,
    mode_count: u32,
    property_count: u32,
    encoder_count: u32,
    encoder: u32,
    id: u32,
    kind: [u32; 2],
    connection: u32,
    millimetres: [u32; 2],
    subpixel: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct Crtc {
    connectors: u64,
    connector_count: u32,
    id: u32,
    framebuffer: u32,
    x: u32,
    y: u32,
    gamma_size: u32,
    mode_valid: u32,
    mode: Mode,
}

const fn read_write(command: u32, bytes: usize) -> libc::c_ulong {
    (3 << 30 | (bytes as u32) << 16 | (b'd' as u32) << 8 | command) as libc::c_ulong
}

/// The size that pictures have on the display.
pub const SHOWN: (u16, u16) = (1024, 768);

/// A dumb buffer of 1024 x 1024 pixels of 32 bits.
#[derive(Clone, Copy, Debug)]
pub struct Buffer {
    handle: u32,
    framebuffer: Option<u32>,
    /// Bytes.
    pub bytes: usize,
    /// Where its memory is in the card's file.
    pub offset: u64,
}

/// A card.
#[derive(Debug)]
pub struct Card {
    file: File,
    crtc: u32,
    connector: u32,
    mode: Option<Mode>,
}

impl Card {
    /// Opens the first card of this driver.
    pub fn open(driver: &str) -> Result<Self> {
        let folder = fs::read_dir("/dev/dri").context("no graphics cards")?;
        for entry in folder {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if !name.starts_with("card") {
                continue;
            }
            let file = File::options().read(true).write(true).open(&path)?;
            let card = Self { file, crtc: 0, connector: 0, mode: None };
            if card.driver()? == driver {
                return Ok(card);
            }
        }
        bail!("no card of the driver {driver}")
    }

    fn call<T>(&self, command: u32, data: &mut T, what: &'static str) -> Result<()> {
        let request = read_write(command, size_of::<T>());
        // SAFETY: the structure is the kernel's for this command, and what it points to outlives the
        // call and has the size that it says.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), request, std::ptr::from_mut(data)) }, what)
    }

    fn driver(&self) -> Result<String> {
        let mut name = [0_u8; 64];
        let mut version =
            Version { name_length: name.len(), name: name.as_mut_ptr() as u64, ..Version::default() };
        self.call(0x00, &mut version, "DRM_IOCTL_VERSION")?;
        Ok(String::from_utf8_lossy(&name[..version.name_length.min(name.len())]).into_owned())
    }

    /// Makes a buffer, and a framebuffer of it where the card has a display.
    pub fn create(&self, shown: bool) -> Result<Buffer> {
        let mut dumb = CreateDumb { height: 1024, width: 1024, bits_per_pixel: 32, ..CreateDumb::default() };
        self.call(0xB2, &mut dumb, "DRM_IOCTL_MODE_CREATE_DUMB")?;
        let mut map = MapDumb { handle: dumb.handle, ..MapDumb::default() };
        self.call(0xB3, &mut map, "DRM_IOCTL_MODE_MAP_DUMB")?;
        let mut framebuffer = None;
        if shown {
            let mut request = Framebuffer {
                width: SHOWN.0.into(),
                height: SHOWN.1.into(),
                pitch: dumb.pitch,
                bits_per_pixel: 32,
                depth: 24,
                handle: dumb.handle,
                ..Framebuffer::default()
            };
            self.call(0xAE, &mut request, "DRM_IOCTL_MODE_ADDFB")?;
            framebuffer = Some(request.id);
        }
        Ok(Buffer { handle: dumb.handle, framebuffer, bytes: dumb.size as usize, offset: map.offset })
    }

    /// Finds the display and its mode of 1024 x 768.
    pub fn find_display(&mut self) -> Result<()> {
        let (mut crtcs, mut connectors) = ([0_u32; 16], [0_u32; 16]);
        let mut resources = Resources {
            crtcs: crtcs.as_mut_ptr() as u64,
            connectors: connectors.as_mut_ptr() as u64,
            crtc_count: 16,
            connector_count: 16,
            ..Resources::default()
        };
        self.call(0xA0, &mut resources, "DRM_IOCTL_MODE_GETRESOURCES")?;
        self.crtc = crtcs[0];
        self.connector = connectors[0];
        // The first call counts and makes the kernel look; the second fetches.
        let mut probe = Connector { id: self.connector, ..Connector::default() };
        self.call(0xA7, &mut probe, "DRM_IOCTL_MODE_GETCONNECTOR")?;
        let mut modes = vec![Mode::default(); probe.mode_count as usize];
        let mut fetch = Connector {
            id: self.connector,
            modes: modes.as_mut_ptr() as u64,
            mode_count: modes.len() as u32,
            ..Connector::default()
        };
        self.call(0xA7, &mut fetch, "DRM_IOCTL_MODE_GETCONNECTOR")?;
        let mode = modes
            .iter()
            .find(|mode| (mode.horizontal[0], mode.vertical[0]) == SHOWN)
            .context("the display has no mode of 1024x768")?;
        self.mode = Some(*mode);
        Ok(())
    }

    /// Shows a buffer: the driver moves it to VRAM, and another one out if there is no room.
    pub fn show(&self, buffer: Buffer) -> Result<()> {
        let (Some(framebuffer), Some(mode)) = (buffer.framebuffer, self.mode) else {
            bail!("buffer {} cannot be shown", buffer.handle)
        };
        let connectors = [self.connector];
        let mut crtc = Crtc {
            connectors: connectors.as_ptr() as u64,
            connector_count: 1,
            id: self.crtc,
            framebuffer,
            mode_valid: 1,
            mode,
            ..Crtc::default()
        };
        self.call(0xA2, &mut crtc, "DRM_IOCTL_MODE_SETCRTC")
    }
}

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::{Connector, Crtc, Mode, Resources, Version};

    #[test]
    fn structures_have_the_kernels_sizes() {
        assert_eq!(size_of::<Mode>(), 68);
        assert_eq!(size_of::<Crtc>(), 104);
        assert_eq!(size_of::<Resources>(), 64);
        assert_eq!(size_of::<Connector>(), 80);
        assert_eq!(size_of::<Version>(), 64);
    }
}
