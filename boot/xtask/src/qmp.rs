// SPDX-License-Identifier: MIT OR Apache-2.0
//! Talks to a running QEMU.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

/// A connection to QEMU's monitor.
pub struct Qmp {
    reader: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects; QEMU serves one at a time.
    ///
    /// # Errors
    /// QEMU is not there, or busy with somebody else.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("the emulator's monitor does not answer")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut qmp = Self { reader: BufReader::new(stream) };
        qmp.read().context("no greeting from the emulator's monitor")?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Saves what the emulated display shows, as PNG.
    ///
    /// # Errors
    /// There is no display, or the file cannot be written.
    pub fn screendump(&mut self, path: &Path) -> Result<()> {
        self.execute("screendump", &json!({ "filename": path, "format": "png" }))?;
        Ok(())
    }

    /// Presses a key that means nothing by itself: an interrupt of the keyboard.
    ///
    /// # Errors
    /// The emulator has ended.
    pub fn press_shift(&mut self) -> Result<()> {
        let keys = json!([{ "type": "qcode", "data": "shift" }]);
        self.execute("send-key", &json!({ "keys": keys, "hold-time": 1 }))?;
        Ok(())
    }

    /// Runs one command and gives its result.
    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.reader.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut answer = self.read()?;
            if let Some(error) = answer.get("error") {
                bail!("{command}: {}", error["desc"].as_str().unwrap_or("no reason given"));
            }
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
        }
    }

    /// The next message.
    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("the emulator has ended");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
