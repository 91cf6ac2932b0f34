//! A lock of a file or of an engine, for rounds that are the same over both.

use std::path::Path;
use std::time::Duration;

use holdlock::{Error, FileLock, OwnedGuard, Request};
#[cfg(feature = "engines")]
use holdlock_engines::{EngineGuard, EngineLock};

use super::engine::Engine;
use super::mode::Mode;

/// A lock that is not held.
#[derive(Clone)]
pub(super) enum Lock {
    File(FileLock),
    #[cfg(feature = "engines")]
    Engine(EngineLock),
}

/// The proof of holding it.
pub(super) enum Held {
    File(OwnedGuard),
    #[cfg(feature = "engines")]
    Engine(EngineGuard),
    /// A fault: it claims to hold the lock.
    Pretended,
}

/// How a request ended without the lock.
pub(super) enum Refusal {
    WouldBlock,
    TimedOut,
    Cancelled,
    /// The engine does not answer, was restarted, or is no primary now.
    #[cfg_attr(
        not(feature = "engines"),
        allow(dead_code, reason = "files always answer")
    )]
    Unreachable,
    /// With the number of the operating system's error.
    Failed(String, Option<i32>),
}

impl Lock {
    /// The lock of a mode. An error is a message, and the number of the operating system's error.
    pub(super) fn open(
        engine: Option<&Engine>,
        directory: &Path,
        mode: Mode,
    ) -> Result<Lock, (String, Option<i32>)> {
        match engine {
            None => match mode.open(directory, 0) {
                Ok(lock) => Ok(Lock::File(lock)),
                Err(error) => Err((error.to_string(), error.raw_os_error())),
            },
            #[cfg(feature = "engines")]
            Some(engine) => match engine.open(mode) {
                Ok(lock) => Ok(Lock::Engine(lock)),
                Err(error) => Err((error.to_string(), None)),
            },
            #[cfg(not(feature = "engines"))]
            Some(engine) => match *engine {},
        }
    }

    pub(super) fn acquire(&self, request: Request) -> Result<Held, Refusal> {
        match self {
            Lock::File(lock) => match lock.acquire_owned(request) {
                Ok(guard) => Ok(Held::File(guard)),
                Err(Error::WouldBlock(_)) => Err(Refusal::WouldBlock),
                Err(Error::TimedOut(_)) => Err(Refusal::TimedOut),
                Err(Error::Cancelled { .. }) => Err(Refusal::Cancelled),
                Err(error) => Err(Refusal::Failed(error.to_string(), error.raw_os_error())),
            },
            #[cfg(feature = "engines")]
            Lock::Engine(lock) => lock.acquire(request).map(Held::Engine).map_err(refusal),
        }
    }
}

#[cfg(feature = "engines")]
fn refusal(error: holdlock_engines::Error) -> Refusal {
    use holdlock_engines::Error;
    match error {
        Error::WouldBlock(_) => Refusal::WouldBlock,
        Error::TimedOut(_) => Refusal::TimedOut,
        Error::Cancelled { .. } => Refusal::Cancelled,
        Error::Unreachable { .. } | Error::Unsuitable { .. } => Refusal::Unreachable,
        other => Refusal::Failed(other.to_string(), None),
    }
}

impl Held {
    /// Whether the lock is certainly held now. That of a file cannot be lost.
    pub(super) fn is_valid(&self) -> bool {
        match self {
            Held::File(_) | Held::Pretended => true,
            #[cfg(feature = "engines")]
            Held::Engine(guard) => guard.is_valid(),
        }
    }

    /// Whether the holder was told of a loss.
    pub(super) fn is_lost(&self) -> bool {
        match self {
            Held::File(_) | Held::Pretended => false,
            #[cfg(feature = "engines")]
            Held::Engine(guard) => guard.lost().loss().is_some(),
        }
    }

    /// How long the engine keeps the lock without hearing of the holder.
    pub(super) fn ttl(&self) -> Duration {
        match self {
            Held::File(_) | Held::Pretended => Duration::ZERO,
            #[cfg(feature = "engines")]
            Held::Engine(guard) => guard.ttl(),
        }
    }

    pub(super) fn token(&self) -> Option<u64> {
        match self {
            Held::File(guard) => guard.token(),
            Held::Pretended => None,
            #[cfg(feature = "engines")]
            Held::Engine(guard) => guard.token(),
        }
    }

    /// Whether the lock was held to the end. An error is a failure.
    pub(super) fn release(self) -> Result<bool, (String, Option<i32>)> {
        match self {
            Held::File(guard) => match guard.release() {
                Ok(()) => Ok(true),
                Err(error) => Err((error.to_string(), error.raw_os_error())),
            },
            Held::Pretended => Ok(true),
            #[cfg(feature = "engines")]
            Held::Engine(guard) => match guard.release() {
                Ok(()) => Ok(true),
                Err(holdlock_engines::Error::Lost { .. }) => Ok(false),
                Err(error) => Err((error.to_string(), None)),
            },
        }
    }
}
