// SPDX-License-Identifier: MIT OR Apache-2.0
//! Talks to a running QEMU.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

/// A connection to QEMU's monitor.
pub struct Qmp {
    reader: BufReader<UnixStream>,
    migration: VecDeque<String>,
}

/// How often a machine is stopped to find its processors halted, and for how long it runs in between.
const HALT_TRIES: u32 = 2000;
const HALT_PAUSE: Duration = Duration::from_millis(5);

impl Qmp {
    /// Connects; QEMU serves one at a time.
    ///
    /// # Errors
    /// QEMU is not there, or busy with somebody else.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).context("the emulator's monitor does not answer")?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut qmp = Self { reader: BufReader::new(stream), migration: VecDeque::new() };
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

    /// Stops the machine where its processors are all halted: what is saved inside a guest cannot be restored.
    ///
    /// # Errors
    /// They are never halted, or the emulator has ended.
    pub fn stop_halted(&mut self) -> Result<()> {
        for _ in 0..HALT_TRIES {
            self.execute("stop", &json!({}))?;
            let registers = json!({ "command-line": "info registers -a" });
            let said = self.execute("human-monitor-command", &registers)?;
            if all_halted(said.as_str().unwrap_or_default()) {
                return Ok(());
            }
            self.go_on()?;
            // The emulator tells nobody when a processor halts.
            std::thread::sleep(HALT_PAUSE);
        }
        bail!("the emulated processors were never halted all at once")
    }

    /// Lets the machine go on.
    ///
    /// # Errors
    /// The emulator has ended.
    pub fn go_on(&mut self) -> Result<()> {
        self.execute("cont", &json!({}))?;
        Ok(())
    }

    /// Writes everything but the memory, which is in a file already, to another file. The machine must be stopped,
    /// and cannot go on afterwards: it would change that memory.
    ///
    /// # Errors
    /// A device that cannot be saved, or an emulator that is older than 8.2.
    pub fn save(&mut self, state: &Path) -> Result<()> {
        self.migrate("migrate", state).context("the machine cannot be saved")
    }

    /// Gives a machine that waits for it the state that another was saved with.
    ///
    /// # Errors
    /// It is not that machine's.
    pub fn restore(&mut self, state: &Path) -> Result<()> {
        self.migrate("migrate-incoming", state).context("the saved machine cannot be restored")
    }

    /// Moves a machine's state, without its memory, and waits until that is done.
    fn migrate(&mut self, command: &str, state: &Path) -> Result<()> {
        let wanted = ["x-ignore-shared", "events"].map(|name| json!({ "capability": name, "state": true }));
        self.execute("migrate-set-capabilities", &json!({ "capabilities": wanted }))?;
        self.execute(command, &json!({ "uri": format!("file:{}", state.display()) }))?;
        loop {
            while let Some(status) = self.migration.pop_front() {
                if status == "completed" {
                    return Ok(());
                }
                if status == "failed" {
                    let why = self.execute("query-migrate", &json!({}))?;
                    bail!("{}", why["error-desc"].as_str().unwrap_or("no reason given"));
                }
            }
            let message = self.read()?;
            self.note(&message);
        }
    }

    /// Ends the emulator.
    ///
    /// # Errors
    /// It has ended before.
    pub fn quit(&mut self) -> Result<()> {
        self.execute("quit", &json!({}))?;
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
            self.note(&answer);
        }
    }

    /// Keeps what an event says about a machine's state that is being moved.
    fn note(&mut self, message: &Value) {
        if message["event"] == "MIGRATION" {
            self.migration.extend(message["data"]["status"].as_str().map(str::to_owned));
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

/// Whether the registers of all processors, as the emulator prints them, say that they are halted.
fn all_halted(registers: &str) -> bool {
    let states: Vec<&str> = registers.split_whitespace().filter(|word| word.starts_with("HLT=")).collect();
    !states.is_empty() && states.iter().all(|state| *state == "HLT=1")
}

#[cfg(test)]
mod tests {
    use super::all_halted;

    /// As QEMU 10 prints it, shortened.
    fn processor(number: u32, halted: u32) -> String {
        format!(
            "\r\nCPU#{number}\r\nRAX=0000000000000000 RBX=0000000000000000\r\n\
             RIP=ffff82d0402c5d5a RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT={halted}\r\n"
        )
    }

    #[test]
    fn a_machine_is_halted_when_each_of_its_processors_is() {
        assert!(all_halted(&processor(0, 1)));
        assert!(all_halted(&[processor(0, 1), processor(1, 1)].concat()));
        for others in [[0, 1], [1, 0], [0, 0]] {
            assert!(!all_halted(&[processor(0, others[0]), processor(1, others[1])].concat()), "{others:?}");
        }
        assert!(!all_halted(""), "nothing was said");
    }
}
