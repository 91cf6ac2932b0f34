//! Other lock crates.

use std::fs::File;
use std::io;

use super::Lock;

pub(super) struct Fs4(pub(super) File);

impl Lock for Fs4 {
    fn exclusive(&mut self, section: &mut dyn FnMut()) -> io::Result<()> {
        fs4::FileExt::lock(&self.0)?;
        section();
        fs4::FileExt::unlock(&self.0)
    }

    fn attempt(&mut self) -> io::Result<bool> {
        match fs4::FileExt::try_lock(&self.0) {
            Ok(()) => fs4::FileExt::unlock(&self.0)?,
            Err(fs4::TryLockError::WouldBlock) => return Ok(false),
            Err(fs4::TryLockError::Error(error)) => return Err(error),
        }
        Ok(true)
    }
}

pub(super) struct FdLock(pub(super) fd_lock::RwLock<File>);

impl Lock for FdLock {
    fn exclusive(&mut self, section: &mut dyn FnMut()) -> io::Result<()> {
        let guard = self.0.write()?;
        section();
        drop(guard);
        Ok(())
    }

    fn attempt(&mut self) -> io::Result<bool> {
        match self.0.try_write() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}
