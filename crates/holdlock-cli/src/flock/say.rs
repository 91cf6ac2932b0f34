//! The two output streams, and the end of the program.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;

use holdlock::inspect::{Printable, printable};
use rustix::io::Errno;
use rustix::stdio;

use crate::exit::reason;
use crate::sys::pipe::without_sigpipe;

/// The name in every message.
pub(super) const NAME: &str = "flock";

/// The exit code if a stream cannot be written.
const WRITE_ERROR: u8 = 1;

/// An end of the program, perhaps with a message on standard error.
pub(super) struct Stop {
    pub(super) code: u8,
    pub(super) message: Option<Vec<u8>>,
}

impl Stop {
    pub(super) fn silently(code: u8) -> Stop {
        Stop {
            code,
            message: None,
        }
    }

    /// Messages are bytes, because paths and arguments are.
    pub(super) fn saying(code: u8, parts: &[&[u8]]) -> Stop {
        Stop {
            code,
            message: Some(parts.concat()),
        }
    }

    pub(super) fn error(code: u8, parts: &[&[u8]], error: &io::Error) -> Stop {
        let text = reason(error);
        let mut message = parts.concat();
        message.extend_from_slice(b": ");
        message.extend_from_slice(text.as_bytes());
        Stop {
            code,
            message: Some(message),
        }
    }
}

/// A message as a line, which begins with the name.
pub(super) fn line(message: &[u8]) -> String {
    format!("{NAME}: {}\n", shown(message))
}

/// Escapes unprintable characters. Unlike the messages of flock(1), these messages never control
/// the terminal, whatever words they quote.
pub(super) fn shown(text: &[u8]) -> Printable<'_> {
    printable(OsStr::from_bytes(text))
}

/// The text that is still to be written to standard output.
#[derive(Default)]
pub(super) struct Say {
    unwritten: Vec<u8>,
    /// A message could not be written.
    unheard: bool,
}

impl Say {
    pub(super) fn print(&mut self, text: &[u8]) {
        self.unwritten.extend_from_slice(text);
    }

    /// Writes the text so far, so that it is before the command's output.
    ///
    /// A failure does not stop the command. At the end of the program it gives the exit code, or
    /// SIGPIPE takes effect.
    pub(super) fn flush(&mut self) {
        if !self.unwritten.is_empty() {
            let _ = without_sigpipe(|| self.write());
        }
    }

    fn write(&mut self) -> Result<(), Errno> {
        // Written directly, so that SIGPIPE takes effect and std does not set up its lock and its
        // line buffer.
        while !self.unwritten.is_empty() {
            match rustix::io::write(stdio::stdout(), &self.unwritten) {
                Ok(written) => drop(self.unwritten.drain(..written)),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A message on standard error.
    pub(super) fn warn(&mut self, message: &[u8]) {
        self.unheard |= rustix::io::write(stdio::stderr(), line(message).as_bytes()).is_err();
    }

    /// Prints lines that are printable and do not begin with the short name.
    pub(super) fn warn_raw(&mut self, lines: &str) {
        self.unheard |= rustix::io::write(stdio::stderr(), lines.as_bytes()).is_err();
    }

    /// A message of the child, which does not report that it could not be written.
    pub(super) fn warn_as_child(&self, message: &[u8]) {
        let _ = rustix::io::write(stdio::stderr(), line(message).as_bytes());
    }

    /// The exit code, unless a text could not be written. If standard output is closed, or its
    /// reader has ended, that is not an error: nobody wants the output.
    pub(super) fn finish(mut self, code: u8) -> u8 {
        match self.write() {
            Ok(()) | Err(Errno::BADF | Errno::PIPE) => {}
            Err(error) => {
                let text = reason(&error.into());
                self.warn(&[b"write error: ", text.as_bytes()].concat());
                return WRITE_ERROR;
            }
        }
        if self.unheard { WRITE_ERROR } else { code }
    }
}
