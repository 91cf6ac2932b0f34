//! The crate fs4.

use std::fs::File;
use std::io;

use fs4::{FileExt, TryLockError};

use super::{Lock, Section, SharedLock};

/// An open file.
pub struct Fs4(pub File);

impl Fs4 {
    fn run(&self, section: Section<'_>) -> io::Result<()> {
        section();
        FileExt::unlock(&self.0)
    }

    fn run_if(&self, tried: Result<(), TryLockError>, section: Section<'_>) -> io::Result<bool> {
        match tried {
            Ok(()) => self.run(section).map(|()| true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Lock for Fs4 {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        FileExt::lock(&self.0)?;
        self.run(section)
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        self.run_if(FileExt::try_lock(&self.0), section)
    }
}

impl SharedLock for Fs4 {
    fn shared(&mut self, section: Section<'_>) -> io::Result<()> {
        FileExt::lock_shared(&self.0)?;
        self.run(section)
    }

    fn try_shared(&mut self, section: Section<'_>) -> io::Result<bool> {
        self.run_if(FileExt::try_lock_shared(&self.0), section)
    }
}
