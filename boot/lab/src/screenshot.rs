// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lab-screenshot NAME`: a script in dom0 asks for a picture of the emulated display. The program
//! asks dom0's agent over a local socket, the agent asks the host, which has the display.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{bail, Context, Result};
use xenlend_lab::frame;
use xenlend_lab::host::ToHost;

use crate::collect::OUTPUT;
use crate::port::Port;

/// Where dom0's agent listens.
const SOCKET: &str = "/run/lab/screenshot";

/// The program's job: gives 0 when the picture has been taken.
///
/// # Errors
/// A bad name, no agent, or the host's reason.
pub fn ask(arguments: &[OsString]) -> Result<u8> {
    let [name] = arguments else { bail!("usage: lab-screenshot NAME") };
    let name = name.to_string_lossy().into_owned();
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        bail!("{name:?} is no plain file name");
    }
    // Beside what the caller itself leaves in $OUT, which may be a folder below the run's.
    let folder = std::env::var("OUT").unwrap_or_default();
    let folder = folder.strip_prefix(OUTPUT).unwrap_or_default().trim_matches('/');
    let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
    let mut stream = UnixStream::connect(SOCKET).context("dom0's agent does not listen")?;
    frame::send(&mut stream, &name)?;
    match frame::receive::<Option<String>>(&mut stream).context("dom0's agent went away")? {
        None => Ok(0),
        Some(trouble) => bail!("no picture: {trouble}"),
    }
}

/// The programs that wait, by the number of their request.
type Waiting = Arc<Mutex<(u32, HashMap<u32, UnixStream>)>>;

/// The agent's side.
#[derive(Clone)]
pub struct Screenshots(Waiting);

impl Screenshots {
    /// Starts to take requests.
    ///
    /// # Errors
    /// The socket cannot be made.
    pub fn serve(port: Port) -> Result<Self> {
        let listener = UnixListener::bind(SOCKET).context(SOCKET)?;
        let waiting = Waiting::default();
        let shared = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                accept(stream, &shared, &port);
            }
        });
        Ok(Self(waiting))
    }

    /// Passes the host's answer on.
    pub fn done(&self, id: u32, trouble: Option<&String>) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
        if let Some(mut stream) = stream {
            // A program that does not wait any more needs no answer.
            let _ = frame::send(&mut stream, &trouble);
        }
    }
}

/// Takes one request.
fn accept(mut stream: UnixStream, waiting: &Waiting, port: &Port) {
    let Ok(name) = frame::receive::<String>(&mut stream) else { return };
    let id = {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.0 += 1;
        let id = waiting.0;
        waiting.1.insert(id, stream);
        id
    };
    port.send(&ToHost::Screenshot { id, name });
}
