//! Messages on standard error.

use std::io::{self, Write};

use crate::exit::Outcome;
use crate::show::text::printable;

/// Reports the failure, if it is one, and returns the exit code.
pub(crate) fn report(outcome: Outcome) -> u8 {
    let failure = match outcome {
        Ok(code) => return code,
        Err(failure) => failure,
    };
    if !failure.message.is_empty() {
        warn(&failure.message);
    }
    if !failure.more.is_empty() {
        let _ = io::stderr().write_all(failure.more.as_bytes());
    }
    failure.code
}

/// Writes a message as one printable line, whatever characters it contains. A failure of that
/// cannot be reported.
pub(crate) fn warn(message: &str) {
    let line = format!("holdlock: {}\n", printable(message.trim_end()));
    let _ = io::stderr().write_all(line.as_bytes());
}
