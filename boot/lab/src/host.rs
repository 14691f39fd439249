// SPDX-License-Identifier: MIT OR Apache-2.0
//! The conversation between the host and dom0's agent, over a virtio serial port.
//!
//! The host leads. When dom0's daemons are up the agent says [`ToHost::Ready`] and is silent until the host
//! has said what to do: [`ToDom0::Guests`], after which it is ready again, or files and then
//! [`ToDom0::Script`]. While it is silent, no message is on its way in either direction, so that the host may
//! save the machine, and go on with a restored one over another socket.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The name of the port.
pub const PORT_NAME: &str = "xenlend.lab";

/// Where the run's script is in dom0, among the files that the host sends.
pub const SCRIPT_PATH: &str = "/lab/script";

/// Exit status of a run that the lab itself could not carry out.
pub const STATUS_LAB_FAILED: i32 = 125;

/// Exit status of a run that was ended at its timeout.
pub const STATUS_TIMEOUT: i32 = 124;

/// The guests of one run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Job {
    /// Number of guests, named g1 to gN.
    pub guests: u32,
    /// Virtual CPUs of each guest.
    pub vcpus: u32,
    /// Memory of each guest, in MiB.
    pub guest_memory_mib: u32,
    /// Size of the window that each guest leaves free for lent memory, as `memmap=` takes it.
    pub aperture: String,
    /// Added to each guest's kernel command line.
    pub guest_cmdline: String,
    /// Added to each guest's xl file, a line each.
    pub guest_config: Vec<String>,
    /// Whether each guest gets its broker.
    pub broker: bool,
}

/// What dom0's agent tells the host.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToHost {
    /// A point of the boot was reached.
    Stage {
        /// Its name.
        name: String,
    },
    /// Everything that was asked for is up, and the host has the next word: nothing is sent until then.
    Ready,
    /// More of a log; `first` starts it.
    Log {
        /// The log's file name.
        name: String,
        /// What was added.
        data: Vec<u8>,
        /// Whether what was there is to be dropped.
        first: bool,
    },
    /// More of what the script prints.
    Script {
        /// Its bytes.
        data: Vec<u8>,
    },
    /// More of a file that the script left; `first` starts it.
    Output {
        /// Its path below the output folder.
        path: String,
        /// Its next bytes.
        data: Vec<u8>,
        /// Whether this is its first piece.
        first: bool,
    },
    /// The script wants a picture of the emulated display.
    Screenshot {
        /// Told back with the answer.
        id: u32,
        /// The picture's name.
        name: String,
    },
    /// The run is over: all files have been sent.
    Exit {
        /// The script's status, or one of the lab's own.
        status: i32,
        /// Why the lab failed, if it did.
        trouble: Option<String>,
    },
}

/// What the host tells dom0's agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToDom0 {
    /// Bring these guests up.
    Guests(Job),
    /// The next bytes of a cpio archive with files for dom0; it is unpacked when the script is to run.
    Files {
        /// At most [`crate::frame::CHUNK`] of them.
        data: Vec<u8>,
    },
    /// Run the script, which came with the files.
    Script {
        /// The host's time since 1970: a machine that was saved has the time of its saving.
        now: Duration,
    },
    /// The picture was taken, or not.
    ScreenshotDone {
        /// As in the request.
        id: u32,
        /// The reason why there is none.
        trouble: Option<String>,
    },
    /// The time is over: stop the script, send everything, exit.
    Abort,
}
