//! Runs the command of flock(1).

use std::ffi::CStr;
use std::io;
use std::os::fd::RawFd;

use super::options::Options;
use super::say::{Say, Stop, line};
use super::status;
use crate::sys::flock_child::{self, Ended, default_sigchld};
use crate::sys::vfork::{Argv, Failed};

/// Runs the command, or becomes it. The command inherits `lock` unless `lock` is to be closed.
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
    let argv = Argv::new(words.iter().copied());
    if options.no_fork {
        return Err(not_executed(words[0], &argv.exec(), say));
    }
    let child = match flock_child::spawn(&argv, options.close.then_some(lock)) {
        Ok(child) => child,
        Err(Failed::Exec(error)) => return Err(not_executed(words[0], &error, say)),
        Err(Failed::Clone(error)) => {
            return Err(Stop::error(status::OS_ERROR, &[b"fork failed"], &error));
        }
    };
    match flock_child::wait(&child) {
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
