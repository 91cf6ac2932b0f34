//! The standard library's file locks.

use std::fs::{File, TryLockError};
use std::io;
use std::time::Duration;

use super::Lock;

pub(super) struct Std(pub(super) File);

impl Lock for Std {
    fn exclusive(&mut self, section: &mut dyn FnMut()) -> io::Result<()> {
        self.0.lock()?;
        section();
        self.0.unlock()
    }

    fn attempt(&mut self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => self.0.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(true)
    }
}

pub(super) struct StdPoll {
    pub(super) std: Std,
    pub(super) pause: Duration,
}

impl Lock for StdPoll {
    fn exclusive(&mut self, section: &mut dyn FnMut()) -> io::Result<()> {
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

    fn attempt(&mut self) -> io::Result<bool> {
        self.std.attempt()
    }
}
