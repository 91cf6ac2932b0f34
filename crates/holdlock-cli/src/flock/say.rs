//! The two output streams, and how the program ends.

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

/// The exit code where a stream cannot be written.
const WRITE_ERROR: u8 = 1;

/// The program ends here, perhaps with a message on standard error.
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

/// Unlike flock(1)'s, messages do not command the terminal, whatever words they quote: what is not
/// printable is escaped.
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

    /// Writes what was said so far, so that it stands before the command's output.
    ///
    /// A failure waits until the end of the program, where it has its exit code or SIGPIPE its
    /// effect: the command runs all the same.
    pub(super) fn flush(&mut self) {
        if !self.unwritten.is_empty() {
            let _ = without_sigpipe(|| self.write());
        }
    }

    fn write(&mut self) -> Result<(), Errno> {
        // SIGPIPE and all: not through std's lock and line buffer, which are set up for nothing.
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

    /// Printable lines that begin with something else than the short name.
    pub(super) fn warn_raw(&mut self, lines: &str) {
        self.unheard |= rustix::io::write(stdio::stderr(), lines.as_bytes()).is_err();
    }

    /// A message of the child, which does not report that it could not be written.
    pub(super) fn warn_as_child(&self, message: &[u8]) {
        let _ = rustix::io::write(stdio::stderr(), line(message).as_bytes());
    }

    /// The exit code, unless what was said cannot be written. For standard output, a closed one
    /// and a reader that has gone are no errors: the output is not wanted.
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
