//! The crate fd-lock.

use std::fs::File;
use std::io;

use super::{Lock, Section, SharedLock};

/// An open file.
pub struct FdLock(fd_lock::RwLock<File>);

impl FdLock {
    /// The lock on a file.
    pub fn new(file: File) -> FdLock {
        FdLock(fd_lock::RwLock::new(file))
    }
}

/// Runs the section under a guard, which then goes.
fn run_if<G>(tried: io::Result<G>, section: Section<'_>) -> io::Result<bool> {
    match tried {
        Ok(guard) => {
            section();
            drop(guard);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

impl Lock for FdLock {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        let guard = self.0.write()?;
        section();
        drop(guard);
        Ok(())
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        run_if(self.0.try_write(), section)
    }
}

impl SharedLock for FdLock {
    fn shared(&mut self, section: Section<'_>) -> io::Result<()> {
        let guard = self.0.read()?;
        section();
        drop(guard);
        Ok(())
    }

    fn try_shared(&mut self, section: Section<'_>) -> io::Result<bool> {
        run_if(self.0.try_read(), section)
    }
}
