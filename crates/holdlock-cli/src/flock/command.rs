//! The command.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;

use super::options::Options;
use super::say::{Say, Stop, line};
use super::status;
use crate::sys::spawn::{CommandLine, Ended, SpawnError, default_sigchld};

/// What interprets the text of `-c`.
pub(super) fn shell() -> &'static CStr {
    std::env::var_os("SHELL")
        .filter(|shell| !shell.is_empty())
        .and_then(|shell| CString::new(shell.into_vec()).ok())
        .map_or(c"/bin/sh", |shell| Box::leak(shell.into_boxed_c_str()))
}

/// Runs the command, or becomes it. It inherits `lock` unless that is to be closed.
pub(super) fn run(
    words: &[&'static CStr],
    options: &Options,
    lock: RawFd,
    say: &mut Say,
) -> Result<u8, Stop> {
    default_sigchld();
    if options.verbose {
        let message = [b"executing ", words[0].to_bytes()].concat();
        say.print(line(&message).as_bytes());
        say.flush();
    }
    let line = CommandLine::new(words);
    if options.no_fork {
        return Err(not_executed(words[0], &line.exec(), say));
    }
    let child = match line.spawn(options.close.then_some(lock)) {
        Ok(child) => child,
        Err(SpawnError::Exec(error)) => return Err(not_executed(words[0], &error, say)),
        Err(SpawnError::Fork(error)) => {
            return Err(Stop::error(status::OS_ERROR, &[b"fork failed"], &error));
        }
    };
    match child.wait() {
        Ok(Ended::Status(code)) => Ok(code),
        Ok(Ended::Signal(signal)) => Ok(128 + signal),
        Err(error) => Err(Stop::error(1, &[b"waitpid failed"], &error)),
    }
}

fn not_executed(command: &CStr, error: &io::Error, say: &Say) -> Stop {
    let code = match error.kind() {
        io::ErrorKind::OutOfMemory => status::OS_ERROR,
        _ => status::NOT_EXECUTED,
    };
    let stop = Stop::error(code, &[b"failed to execute ", command.to_bytes()], error);
    say.warn_as_child(stop.message.as_deref().unwrap_or_default());
    Stop::silently(code)
}
