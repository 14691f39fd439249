// SPDX-License-Identifier: MIT OR Apache-2.0
//! dom0's end of the virtio serial port to the host.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{mpsc, Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use xenlend_lab::frame;
use xenlend_lab::host::{ToDom0, ToHost, PORT_NAME};

/// The sending side, shared by everybody who has something to tell.
#[derive(Clone)]
pub struct Port(Arc<Mutex<File>>);

impl Port {
    /// Opens the port; the receiving side comes with it.
    ///
    /// # Errors
    /// There is no such port.
    pub fn open() -> Result<(Self, Receiver)> {
        let path = find().context("no virtio port to the host")?;
        let file =
            File::options().read(true).write(true).open(&path).with_context(|| path.display().to_string())?;
        let receiver = Receiver(file.try_clone()?);
        Ok((Self(Arc::new(Mutex::new(file))), receiver))
    }

    /// Sends one message. A host that has gone ends the machine, so a failure concerns nobody.
    pub fn send(&self, message: &ToHost) {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = frame::send(&mut *file, message) {
            eprintln!("lab-agent: the host does not listen: {error}");
        }
    }

    /// Says that everything is up, and waits for the host's next order. Nobody else sends anything meanwhile:
    /// the machine may be saved, and a restored one begins with whole messages.
    ///
    /// # Errors
    /// The host has gone, or wants no more.
    pub fn ready(&self, orders: &mpsc::Receiver<ToDom0>) -> Result<ToDom0> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame::send(&mut *file, &ToHost::Ready)?;
        orders.recv().context("no more words from the host")
    }

    /// Says that a point of the boot was reached.
    pub fn stage(&self, name: &str) {
        self.send(&ToHost::Stage { name: name.to_owned() });
    }

    /// Sends a log as it is now.
    pub fn log(&self, name: &str, data: &[u8]) {
        self.send(&ToHost::Log { name: name.to_owned(), data: Vec::new(), first: true });
        for piece in data.chunks(frame::CHUNK) {
            self.send(&ToHost::Log { name: name.to_owned(), data: piece.to_vec(), first: false });
        }
    }

    /// Sends a file of the output folder.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn output(&self, path: &Path, name: &str) -> Result<()> {
        let mut file = File::open(path)?;
        let mut first = true;
        loop {
            let mut data = vec![0; frame::CHUNK];
            let length = file.read(&mut data)?;
            if length == 0 && !first {
                return Ok(());
            }
            data.truncate(length);
            self.send(&ToHost::Output { path: name.to_owned(), data, first });
            first = false;
        }
    }
}

/// The receiving side.
pub struct Receiver(File);

impl Receiver {
    /// Waits for the host's next word.
    ///
    /// # Errors
    /// The host has gone.
    pub fn receive(&mut self) -> Result<ToDom0> {
        Ok(frame::receive(&mut self.0)?)
    }
}

/// The device of the port with our name.
fn find() -> Result<PathBuf> {
    for entry in std::fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let name = std::fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if name.trim() == PORT_NAME {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    anyhow::bail!("none is called {PORT_NAME}")
}
