//! One interface over holdlock and its peers, so that the same tests and measurements run on all.

mod by_fd_lock;
mod by_fs4;
mod by_holdlock;
mod by_std;

use std::fs::File;
use std::io;
use std::path::Path;

pub use by_fd_lock::FdLock;
pub use by_fs4::Fs4;
pub use by_holdlock::Holdlock;
pub use by_std::Std;
use holdlock::{Family, LockOptions};

/// The section that runs while the lock is held.
pub type Section<'s> = &'s mut dyn FnMut();

/// A lock file that one of the peers has opened.
pub trait Lock: Send {
    /// Acquires the exclusive lock, runs the section, and releases the lock.
    ///
    /// # Errors
    ///
    /// Those of the peer.
    fn exclusive(&mut self, section: Section<'_>) -> io::Result<()>;

    /// The same without waiting. False if the lock is not free.
    ///
    /// # Errors
    ///
    /// Those of the peer.
    fn try_exclusive(&mut self, section: Section<'_>) -> io::Result<bool>;
}

/// A lock that readers can share.
pub trait SharedLock: Lock {
    /// As [`Lock::exclusive`], but shared.
    ///
    /// # Errors
    ///
    /// Those of the peer.
    fn shared(&mut self, section: Section<'_>) -> io::Result<()>;

    /// As [`Lock::try_exclusive`], but shared.
    ///
    /// # Errors
    ///
    /// Those of the peer.
    fn try_shared(&mut self, section: Section<'_>) -> io::Result<bool>;
}

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

    /// Opens the lock file, and creates it if it is missing.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened.
    pub fn open(self, path: &Path) -> io::Result<Box<dyn SharedLock>> {
        let ours = |family| -> io::Result<Box<dyn SharedLock>> {
            let lock = LockOptions::new().family(family).open(path)?;
            Ok(Box::new(Holdlock(lock)))
        };
        Ok(match self {
            Peer::Holdlock => ours(Family::Flock)?,
            Peer::HoldlockOfd => ours(Family::Ofd)?,
            Peer::Std => Box::new(Std(open(path)?)),
            Peer::Fs4 => Box::new(Fs4(open(path)?)),
            Peer::FdLock => Box::new(FdLock::new(open(path)?)),
        })
    }

    /// Opens the lock file, acquires the exclusive or shared lock, calls `section`, and releases
    /// the lock. `None` if `wait` is false and the lock is not free.
    ///
    /// # Errors
    ///
    /// Those of the peer.
    pub fn locked<T>(
        self,
        path: &Path,
        shared: bool,
        wait: bool,
        section: impl FnOnce() -> T,
    ) -> io::Result<Option<T>> {
        let mut lock = self.open(path)?;
        let mut result = None;
        let mut section = Some(section);
        let mut once = || result = section.take().map(|section| section());
        match (shared, wait) {
            (false, true) => lock.exclusive(&mut once)?,
            (true, true) => lock.shared(&mut once)?,
            (false, false) => drop(lock.try_exclusive(&mut once)?),
            (true, false) => drop(lock.try_shared(&mut once)?),
        }
        Ok(result)
    }
}

/// Opens a lock file as most programs do, and creates it if it is missing.
///
/// # Errors
///
/// Those of open(2).
pub fn open(path: &Path) -> io::Result<File> {
    File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}
