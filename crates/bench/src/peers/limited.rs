//! Waits with a limit.

use std::fs::TryLockError;
use std::io;
use std::time::Duration;

use holdlock::{Error, FileLock};
use holdlock_test_support::peers::{Lock, Section, Std};

/// holdlock with a deadline.
pub(super) struct HoldlockFor {
    pub(super) lock: FileLock,
    pub(super) limit: Duration,
}

impl Lock for HoldlockFor {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        let guard = self.lock.try_lock_for(self.limit)?;
        section();
        drop(guard);
        Ok(())
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        match self.lock.try_lock() {
            Ok(_guard) => section(),
            Err(Error::WouldBlock(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

/// The standard library's try, again and again.
pub(super) struct StdPoll {
    pub(super) std: Std,
    pub(super) pause: Duration,
}

impl Lock for StdPoll {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        loop {
            match self.std.0.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => std::thread::sleep(self.pause),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        section();
        self.std.0.unlock()
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        self.std.try_exclusive(section)
    }
}
