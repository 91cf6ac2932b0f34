//! The system calls by hand.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use holdlock_test_support::peers::{Lock, Section};
use rustix::fs::{FlockOperation, fcntl_getfl, flock, fstat, lstat};
use rustix::io::Errno;

use crate::sys::{libc_flock, libc_lstat};

pub(super) struct Raw(pub(super) File);

impl Lock for Raw {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        flock(&self.0, FlockOperation::LockExclusive)?;
        section();
        Ok(flock(&self.0, FlockOperation::Unlock)?)
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        match flock(&self.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => section(),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        flock(&self.0, FlockOperation::Unlock)?;
        Ok(true)
    }
}

pub(super) struct RawChecked {
    file: File,
    path: CString,
    identity: (u64, u64),
}

impl RawChecked {
    pub(super) fn new(file: File, path: &Path) -> io::Result<RawChecked> {
        let stat = fstat(&file)?;
        Ok(RawChecked {
            file,
            path: CString::new(path.as_os_str().as_bytes())?,
            identity: (stat.st_dev, stat.st_ino),
        })
    }

    #[inline]
    fn check(&self) -> io::Result<()> {
        let stat = lstat(self.path.as_c_str())?;
        if (stat.st_dev, stat.st_ino) == self.identity {
            Ok(())
        } else {
            Err(io::Error::other("the lock file was replaced"))
        }
    }
}

impl Lock for RawChecked {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        flock(&self.file, FlockOperation::LockExclusive)?;
        self.check()?;
        section();
        Ok(flock(&self.file, FlockOperation::Unlock)?)
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.check()?,
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        section();
        flock(&self.file, FlockOperation::Unlock)?;
        Ok(true)
    }
}

pub(super) struct RawSure(pub(super) RawChecked);

impl RawSure {
    #[inline]
    fn is_the_file(&self) -> io::Result<()> {
        fcntl_getfl(&self.0.file)?;
        Ok(())
    }
}

impl Lock for RawSure {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        self.is_the_file()?;
        flock(&self.0.file, FlockOperation::LockExclusive)?;
        self.0.check()?;
        section();
        self.is_the_file()?;
        Ok(flock(&self.0.file, FlockOperation::Unlock)?)
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        self.is_the_file()?;
        match flock(&self.0.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => self.0.check()?,
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        section();
        self.is_the_file()?;
        flock(&self.0.file, FlockOperation::Unlock)?;
        Ok(true)
    }
}

pub(super) struct LibcChecked(pub(super) RawChecked);

impl Lock for LibcChecked {
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()> {
        let RawChecked {
            file,
            path,
            identity,
        } = &self.0;
        libc_flock(file, libc::LOCK_EX)?;
        if libc_lstat(path)? != *identity {
            return Err(io::Error::other("the lock file was replaced"));
        }
        section();
        libc_flock(file, libc::LOCK_UN)
    }

    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool> {
        self.0.try_exclusive(section)
    }
}
