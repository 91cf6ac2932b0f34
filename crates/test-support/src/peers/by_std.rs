//! The standard library's file locks.

use std::fs::{File, TryLockError};
use std::io;

use super::{Lock, Section, SharedLock};

/// An open file.
pub struct Std(pub File);

impl Std {
    fn run(&self, section: Section<'_>) -> io::Result<()> {
        section();
        self.0.unlock()
    }

    fn run_if(&self, tried: Result<(), TryLockError>, section: Section<'_>) -> io::Result<bool> {
        match tried {
            Ok(()) => self.run(section).map(|()| true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Lock for Std {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        self.0.lock()?;
        self.run(section)
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        self.run_if(self.0.try_lock(), section)
    }
}

impl SharedLock for Std {
    fn shared(&mut self, section: Section<'_>) -> io::Result<()> {
        self.0.lock_shared()?;
        self.run(section)
    }

    fn try_shared(&mut self, section: Section<'_>) -> io::Result<bool> {
        self.run_if(self.0.try_lock_shared(), section)
    }
}
