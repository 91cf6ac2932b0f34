//! Messages on standard error.

use std::io::{self, Write};

use crate::exit::Outcome;
use crate::show::text::printable;
use crate::sys::signals::without_ttou;

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
        write(&failure.more);
    }
    failure.code
}

/// Writes a message as one printable line, whatever characters it contains. A failure of that
/// cannot be reported.
pub(crate) fn warn(message: &str) {
    write(&format!("holdlock: {}\n", printable(message.trim_end())));
}

/// Writes to standard error. A terminal may stop a process in the background that writes (`stty
/// tostop`), but this process may hold a lock, for which others would wait.
pub(crate) fn write(text: &str) {
    // Where that fails, it cannot be reported either.
    let _ = without_ttou(|| io::stderr().write_all(text.as_bytes()));
}
