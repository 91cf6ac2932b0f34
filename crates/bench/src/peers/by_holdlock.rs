//! holdlock.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use holdlock::FileLock;

use super::Lock;

pub(super) struct Holdlock {
    pub(super) lock: Arc<FileLock>,
}

impl Lock for Holdlock {
    fn exclusive(&mut self, section: &mut dyn FnMut()) -> io::Result<()> {
        let guard = self.lock.lock()?;
        section();
        drop(guard);
        Ok(())
    }

    fn attempt(&mut self) -> io::Result<bool> {
        attempt(&self.lock)
    }
}

pub(super) struct HoldlockFor {
    pub(super) lock: FileLock,
    pub(super) limit: Duration,
}

impl Lock for HoldlockFor {
    fn exclusive(&mut self, section: &mut dyn FnMut()) -> io::Result<()> {
        let guard = self.lock.try_lock_for(self.limit)?;
        section();
        drop(guard);
        Ok(())
    }

    fn attempt(&mut self) -> io::Result<bool> {
        attempt(&self.lock)
    }
}

fn attempt(lock: &FileLock) -> io::Result<bool> {
    match lock.try_lock() {
        Ok(_) => Ok(true),
        Err(holdlock::Error::WouldBlock(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
