//! One interface over holdlock and its peers, so that the same tests run on all.

use std::fs::File;
use std::io;
use std::path::Path;

/// A lock library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// This project.
    Holdlock,
    /// This project, with OFD locks.
    HoldlockOfd,
    /// `std::fs::File::lock`.
    Std,
    /// The crate fs4.
    Fs4,
    /// The crate fd-lock.
    FdLock,
}

impl Peer {
    /// All of them.
    pub const ALL: [Peer; 5] = [
        Peer::Holdlock,
        Peer::HoldlockOfd,
        Peer::Std,
        Peer::Fs4,
        Peer::FdLock,
    ];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Peer::Holdlock => "holdlock",
            Peer::HoldlockOfd => "holdlock-ofd",
            Peer::Std => "std",
            Peer::Fs4 => "fs4",
            Peer::FdLock => "fd-lock",
        }
    }

    /// The peer of this name.
    pub fn from_name(name: &str) -> Option<Peer> {
        Peer::ALL.into_iter().find(|peer| peer.name() == name)
    }

    /// Takes the exclusive or shared lock, calls `section`, and releases it.
    /// `Ok(None)` when `wait` is false and the lock is not free.
    pub fn locked<T>(
        self,
        path: &Path,
        shared: bool,
        wait: bool,
        section: impl FnOnce() -> T,
    ) -> io::Result<Option<T>> {
        match self {
            Peer::Holdlock => holdlock(path, holdlock::Family::Flock, shared, wait, section),
            Peer::HoldlockOfd => holdlock(path, holdlock::Family::Ofd, shared, wait, section),
            Peer::Std => by_std(path, shared, wait, section),
            Peer::Fs4 => by_fs4(path, shared, wait, section),
            Peer::FdLock => by_fd_lock(path, shared, wait, section),
        }
    }
}

fn holdlock<T>(
    path: &Path,
    family: holdlock::Family,
    shared: bool,
    wait: bool,
    section: impl FnOnce() -> T,
) -> io::Result<Option<T>> {
    let lock = holdlock::LockOptions::new().family(family).open(path)?;
    let mut request = if shared {
        holdlock::Request::shared()
    } else {
        holdlock::Request::exclusive()
    };
    if !wait {
        request = request.try_once();
    }
    match lock.acquire(request) {
        Ok(guard) => {
            let result = section();
            guard.release()?;
            Ok(Some(result))
        }
        Err(error) if error.is_conflict() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn by_std<T>(
    path: &Path,
    shared: bool,
    wait: bool,
    section: impl FnOnce() -> T,
) -> io::Result<Option<T>> {
    let file = open(path)?;
    if wait {
        if shared {
            file.lock_shared()
        } else {
            file.lock()
        }?;
    } else {
        let tried = if shared {
            file.try_lock_shared()
        } else {
            file.try_lock()
        };
        match tried {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
            Err(std::fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    let result = section();
    file.unlock()?;
    Ok(Some(result))
}

fn by_fs4<T>(
    path: &Path,
    shared: bool,
    wait: bool,
    section: impl FnOnce() -> T,
) -> io::Result<Option<T>> {
    use fs4::FileExt;
    let file = open(path)?;
    if wait {
        if shared {
            FileExt::lock_shared(&file)
        } else {
            FileExt::lock(&file)
        }?;
    } else {
        let tried = if shared {
            FileExt::try_lock_shared(&file)
        } else {
            FileExt::try_lock(&file)
        };
        match tried {
            Ok(()) => {}
            Err(fs4::TryLockError::WouldBlock) => return Ok(None),
            Err(fs4::TryLockError::Error(error)) => return Err(error),
        }
    }
    let result = section();
    FileExt::unlock(&file)?;
    Ok(Some(result))
}

fn by_fd_lock<T>(
    path: &Path,
    shared: bool,
    wait: bool,
    section: impl FnOnce() -> T,
) -> io::Result<Option<T>> {
    let mut lock = fd_lock::RwLock::new(open(path)?);
    let busy = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => Ok(None),
        _ => Err(error),
    };
    if shared {
        let guard = if wait { lock.read() } else { lock.try_read() };
        match guard {
            Ok(_guard) => Ok(Some(section())),
            Err(error) => busy(error),
        }
    } else {
        let guard = if wait { lock.write() } else { lock.try_write() };
        match guard {
            Ok(_guard) => Ok(Some(section())),
            Err(error) => busy(error),
        }
    }
}
