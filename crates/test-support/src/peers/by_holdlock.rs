//! holdlock.

use std::io;

use holdlock::{Error, FileLock, Guard};

use super::{Lock, Section, SharedLock};

/// A lock, which several threads may share.
pub struct Holdlock(pub FileLock);

fn run_if(tried: Result<Guard<'_>, Error>, section: Section<'_>) -> io::Result<bool> {
    match tried {
        Ok(guard) => {
            section();
            drop(guard);
            Ok(true)
        }
        Err(Error::WouldBlock(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Lock for Holdlock {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        let guard = self.0.lock()?;
        section();
        drop(guard);
        Ok(())
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        run_if(self.0.try_lock(), section)
    }
}

impl SharedLock for Holdlock {
    fn shared(&mut self, section: Section<'_>) -> io::Result<()> {
        let guard = self.0.lock_shared()?;
        section();
        drop(guard);
        Ok(())
    }

    fn try_shared(&mut self, section: Section<'_>) -> io::Result<bool> {
        run_if(self.0.try_lock_shared(), section)
    }
}
