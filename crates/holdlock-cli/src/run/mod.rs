//! `holdlock run`: a command under the lock.

mod command;
mod signals;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use holdlock::{FileLock, Mode, Request};

use crate::exit::{self, Failure, Outcome};
use crate::lockdir;

/// What the command line asks for.
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    pub(crate) patience: Patience,
    /// The exit code for "somebody else holds it".
    pub(crate) conflict: u8,
    pub(crate) lock: OsString,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
}

/// How long to wait for the lock.
pub(crate) enum Patience {
    /// Until it comes.
    Endless,
    /// Not at all.
    None,
    /// This long.
    For(Duration),
}

/// Acquires the lock, runs the command, releases, and returns the command's status.
pub(crate) fn run(settings: Settings) -> Outcome {
    let location = lockdir::locate(&settings.lock)?;
    location.prepare()?;
    let lock = FileLock::open(&location.path)?;
    let request = Request::new(settings.mode);
    let request = match settings.patience {
        Patience::Endless => request,
        Patience::None => request.try_once(),
        Patience::For(limit) => request.timeout(limit),
    };
    let guard = lock.acquire(request).map_err(|error| {
        let conflict = error.is_conflict();
        let mut failure = Failure::from(error);
        if conflict {
            failure.code = settings.conflict;
        }
        failure
    })?;

    // Only from here on: whoever interrupts a waiting holdlock means holdlock.
    let signals = signals::Signals::catch()
        .map_err(|error| Failure::system("cannot catch signals", error))?;
    let child = command::start(&settings.program, &settings.arguments)?;
    let status = signals
        .wait(child)
        .map_err(|error| Failure::system("cannot wait for the command", error))?;

    // Released by name, not by exit: the next holder need not wait for our exit.
    if let Err(error) = guard.release() {
        exit::warn(&error.to_string());
    }
    Ok(code(status))
}

/// The command's exit status as shells report it.
fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok())
        .unwrap_or(exit::OS_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_code_or_128_and_the_signal() {
        assert_eq!(code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code(ExitStatus::from_raw(15)), 143);
        assert_eq!(
            code(ExitStatus::from_raw(9 | 0x80)),
            137,
            "with a core dump"
        );
    }
}
