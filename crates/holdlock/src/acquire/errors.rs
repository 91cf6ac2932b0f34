//! The errors of a request for the lock.

use std::io;

use crate::sys::Refusal;
use crate::sys::identity::Identity;
use crate::wait::{Stop, Wait};
use crate::{Conflict, Error, FileLock, Mode};

impl FileLock {
    pub(crate) fn stopped(
        &self,
        stop: Stop,
        mode: Mode,
        wait: &Wait<'_>,
        identity: Option<Identity>,
    ) -> Error {
        let path = &self.name().path;
        let waited = wait.waited();
        match stop {
            Stop::Busy => Error::WouldBlock(Conflict::new(path, mode, waited, identity)),
            Stop::TimedOut => Error::TimedOut(Conflict::new(path, mode, waited, identity)),
            Stop::Cancelled => Error::Cancelled {
                path: path.clone(),
                waited,
            },
            Stop::Deadlock => Error::Deadlock {
                path: path.clone(),
                mode,
                cycle: None,
            },
            Stop::Cycle => Error::Deadlock {
                path: path.clone(),
                mode,
                cycle: wait.cycle(),
            },
        }
    }

    pub(crate) fn cannot_open(&self, source: io::Error) -> Error {
        let is_denied = matches!(
            Refusal::of(&source),
            Some(Refusal::NoPermission | Refusal::ReadOnly | Refusal::Running)
        );
        if is_denied && self.options().record && self.name().identity().is_ok() {
            // The file is there, and only the record needs it to be writable.
            return self.cannot_record(source);
        }
        Error::Open {
            path: self.name().path.clone(),
            source,
        }
    }

    pub(crate) fn system(&self, operation: &'static str, source: io::Error) -> Error {
        Error::System {
            path: self.name().path.clone(),
            operation,
            source,
        }
    }
}

pub(super) fn lock_call(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "locking (exclusive)",
        Mode::Shared => "locking (shared)",
    }
}
