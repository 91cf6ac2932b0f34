//! Starting the command, and the exit code and message where it does not start.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::io::Errno;

use crate::exit::{self, Failure, reason};
use crate::show::text;
use crate::sys::process::{self, Child, Manner, Words};

/// Starts the command as a child.
pub(super) fn start(
    program: &OsStr,
    arguments: &[OsString],
    manner: &Manner<'_>,
) -> Result<Child, Failure> {
    Words::new(program, arguments)
        .and_then(|words| process::spawn(&words, manner))
        .map_err(|error| not_started(program, &error))
}

/// Becomes the command; returns only why that failed.
pub(super) fn become_it(program: &OsStr, arguments: &[OsString]) -> Failure {
    let error = match Words::new(program, arguments) {
        Ok(words) => process::exec(&words),
        Err(error) => error,
    };
    not_started(program, &error)
}

fn not_started(program: &OsStr, error: &io::Error) -> Failure {
    let code = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => exit::NOT_FOUND,
        Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE) => exit::OS_ERROR,
        _ => exit::NOT_EXECUTABLE,
    };
    let shown = text::path(program);
    let hint = if code == exit::NOT_FOUND {
        hint(program)
    } else {
        String::new()
    };
    Failure::new(code, format!("cannot run {shown}: {}{hint}", reason(error)))
}

/// What the user may have meant, where the program does not exist.
fn hint(program: &OsStr) -> String {
    let text = program.to_string_lossy();
    if text.starts_with('-') {
        "; options of holdlock go before LOCK".to_owned()
    } else if text.contains([' ', ';', '|', '>', '&']) {
        format!("; to run a shell's command line: sh -c '{text}'")
    } else {
        String::new()
    }
}
