//! The two output streams, and how the program ends.

use std::io::{self, Write};

use rustix::fd::BorrowedFd;
use rustix::stdio;

use crate::sys::pipe::without_sigpipe;

/// The name in every message.
pub(super) const NAME: &str = "flock";

/// The exit code where standard output cannot be written.
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
        let text = text_of(error);
        let mut message = parts.concat();
        message.extend_from_slice(b": ");
        message.extend_from_slice(text.as_bytes());
        Stop {
            code,
            message: Some(message),
        }
    }
}

/// strerror(3)'s text, which std follows by the number.
fn text_of(error: &io::Error) -> String {
    let mut text = error.to_string();
    if let Some(end) = text.rfind(" (os error ") {
        text.truncate(end);
    }
    text
}

/// What is still to be written to standard output.
#[derive(Default)]
pub(super) struct Say {
    unwritten: Vec<u8>,
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

    fn write(&mut self) -> io::Result<()> {
        // SIGPIPE and all: not through std's lock and line buffer, which are set up for nothing.
        while !self.unwritten.is_empty() {
            match rustix::io::write(out(), &self.unwritten) {
                Ok(written) => drop(self.unwritten.drain(..written)),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// A message on standard error. Nobody is left to tell when that fails.
    pub(super) fn warn(&mut self, message: &[u8]) {
        let line = [NAME.as_bytes(), b": ", message, b"\n"].concat();
        let _ = io::stderr().write_all(&line);
    }

    /// A message that begins with something else than the short name.
    pub(super) fn warn_raw(&mut self, line: &[u8]) {
        let _ = io::stderr().write_all(line);
    }

    /// The exit code, unless what was said cannot be written. A closed standard output and a
    /// reader that is gone are no errors: nobody wanted it.
    pub(super) fn finish(mut self, code: u8) -> u8 {
        use rustix::io::Errno;
        let Err(error) = self.write() else {
            return code;
        };
        match Errno::from_io_error(&error) {
            Some(Errno::BADF | Errno::PIPE) => code,
            _ => {
                let stop = Stop::error(WRITE_ERROR, &[b"write error"], &error);
                self.warn(&stop.message.unwrap_or_default());
                WRITE_ERROR
            }
        }
    }
}

fn out() -> BorrowedFd<'static> {
    stdio::stdout()
}
