// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernel messages, limited in rate by the glue.

use core::fmt::{self, Write};

use super::ffi;

/// How bad it is.
#[derive(Clone, Copy)]
pub enum Level {
    /// Safety needed the last resort, or a side broke its contract.
    Error = 0,
    /// Somebody should look.
    Warning = 1,
    /// Life of a link.
    Information = 2,
}

struct Line {
    bytes: [u8; 200],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (cell, byte) in self.bytes.iter_mut().skip(self.length).zip(text.bytes()) {
            *cell = byte;
            self.length += 1;
        }
        Ok(())
    }
}

/// Writes one message; what does not fit a line is cut off.
pub fn log(level: Level, text: fmt::Arguments<'_>) {
    let mut line = Line { bytes: [0; 200], length: 0 };
    let _ = line.write_fmt(text);
    // SAFETY: the pointer and the length name the written part of the buffer.
    unsafe { ffi::xenlend_log(level as i32, line.bytes.as_ptr(), line.length) };
}

/// A message of level error.
#[macro_export]
macro_rules! log_error {
    ($($text:tt)*) => { $crate::kernel_api::log::log($crate::kernel_api::log::Level::Error, format_args!($($text)*)) };
}

/// A message of level warning.
#[macro_export]
macro_rules! log_warning {
    ($($text:tt)*) => { $crate::kernel_api::log::log($crate::kernel_api::log::Level::Warning, format_args!($($text)*)) };
}

/// A message of level information.
#[macro_export]
macro_rules! log_information {
    ($($text:tt)*) => { $crate::kernel_api::log::log($crate::kernel_api::log::Level::Information, format_args!($($text)*)) };
}

/// A bug: the machine must not go on with it.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let mut line = Line { bytes: [0; 200], length: 0 };
    let _ = write!(line, "{info}");
    // SAFETY: the pointer and the length name the written part of the buffer.
    unsafe { ffi::xenlend_panic(line.bytes.as_ptr(), line.length) }
}
