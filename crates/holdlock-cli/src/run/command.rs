//! Starts the command; the exit code and the message if it does not start.

use std::ffi::{OsStr, OsString};
use std::io;

use rustix::io::Errno;

use crate::exit::{self, Failure, reason};
use crate::show::text;
use crate::sys::run_child::{self, Manner};
use crate::sys::vfork::Child;

/// Starts the command as a child.
pub(super) fn start(
    program: &OsStr,
    arguments: &[OsString],
    manner: &Manner<'_>,
) -> Result<Child, Failure> {
    let child = run_child::spawn(program, arguments, manner);
    child.map_err(|error| not_started(program, &error))
}

/// Becomes the command. Returns only if that fails, with the reason.
pub(super) fn become_it(
    program: &OsStr,
    arguments: &[OsString],
    environment: &[(&str, Option<String>)],
) -> Failure {
    not_started(program, &run_child::exec(program, arguments, environment))
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

/// What the user may have meant, if the program does not exist.
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
