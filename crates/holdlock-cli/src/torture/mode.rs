//! The ways to use a lock that are tried, each on a lock file of its own.

use std::path::{Path, PathBuf};

use holdlock::{Error, Family, FileLock, LockOptions, Semaphore};

/// A way to use a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    /// Only exclusive requests.
    Exclusive,
    /// Shared and exclusive requests, and conversions.
    Shared,
    /// The same, in the order of arrival.
    Fair,
    /// Locks of open file descriptions, beside programs that use fcntl(2).
    Ofd,
    /// Holders remove, rename or replace the lock file as their last act.
    Removal,
    /// Holders delete the lock file when they release the lock.
    Deletion,
    /// Holders leave a record in the lock file.
    Record,
    /// Some of several locks at once.
    Set,
    /// The slots of a semaphore, beside requests for the whole file.
    Slots,
    /// Readers, of which one at a time may upgrade.
    Upgrade,
    /// Holders read a file, and write it anew a while later.
    Rewrite,
    /// Holders write to a resource that checks their tokens.
    Register,
    /// Commands under `holdlock run`.
    Run,
}

impl Mode {
    pub(crate) const ALL: [Mode; 13] = [
        Mode::Exclusive,
        Mode::Shared,
        Mode::Fair,
        Mode::Ofd,
        Mode::Removal,
        Mode::Deletion,
        Mode::Record,
        Mode::Set,
        Mode::Slots,
        Mode::Upgrade,
        Mode::Rewrite,
        Mode::Register,
        Mode::Run,
    ];

    /// Those that are tried in a directory unless the user names others.
    pub(crate) const OF_FILES: &[Mode] = Mode::ALL.split_at(10).0;

    /// Those that exist over an engine.
    pub(crate) const OF_ENGINES: &[Mode] = &[
        Mode::Exclusive,
        Mode::Shared,
        Mode::Slots,
        Mode::Rewrite,
        Mode::Register,
        Mode::Run,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Mode::Exclusive => "exclusive",
            Mode::Shared => "shared",
            Mode::Fair => "fair",
            Mode::Ofd => "ofd",
            Mode::Removal => "removal",
            Mode::Deletion => "deletion",
            Mode::Record => "record",
            Mode::Set => "set",
            Mode::Slots => "slots",
            Mode::Upgrade => "upgrade",
            Mode::Rewrite => "rewrite",
            Mode::Register => "register",
            Mode::Run => "run",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.name() == name)
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }

    pub(super) fn at(index: u64) -> Option<Mode> {
        Mode::ALL.get(usize::try_from(index).ok()?).copied()
    }

    /// Whether some requests are shared.
    pub(super) fn shares(self) -> bool {
        use Mode::{Exclusive, Register, Removal, Rewrite, Run, Slots};
        !matches!(self, Exclusive | Removal | Slots | Rewrite | Register | Run)
    }

    /// Whether requests are served in the order of their arrival.
    pub(super) fn is_fair(self) -> bool {
        matches!(self, Mode::Fair | Mode::Slots)
    }

    /// Whether the rounds are the same over files and over engines.
    pub(super) fn is_common(self) -> bool {
        matches!(self, Mode::Rewrite | Mode::Register | Mode::Run)
    }

    /// What can be locked alone in this mode.
    pub(super) fn part_name(self) -> &'static str {
        match self {
            Mode::Slots => "slot",
            Mode::Upgrade => "part",
            _ => "lock",
        }
    }

    /// Whether shared locks become exclusive and exclusive ones shared.
    pub(super) fn converts(self) -> bool {
        self == Mode::Shared
    }

    /// Whether programs that use plain flock(2) take part. In fair mode they may pass the queue.
    pub(super) fn has_flock_partners(self) -> bool {
        matches!(
            self,
            Mode::Exclusive | Mode::Shared | Mode::Removal | Mode::Deletion
        )
    }

    /// The same for flock(1), which does not notice that the lock file was removed.
    pub(super) fn has_flock_program(self) -> bool {
        matches!(self, Mode::Exclusive | Mode::Shared)
    }

    pub(super) fn family(self) -> Family {
        match self {
            Mode::Ofd => Family::Ofd,
            _ => Family::Flock,
        }
    }

    /// The lock file of this mode; of a mode with several, the first one.
    pub(super) fn lock_file(self, directory: &Path) -> PathBuf {
        self.member_file(directory, 0)
    }

    /// All lock files of this mode.
    pub(super) fn lock_files(self, directory: &Path) -> Vec<PathBuf> {
        let count = if self == Mode::Set { SET } else { 1 };
        (0..count)
            .map(|member| self.member_file(directory, member))
            .collect()
    }

    pub(super) fn member_file(self, directory: &Path, member: usize) -> PathBuf {
        directory.join(match self {
            Mode::Set => format!("set-{member}.lock"),
            _ => format!("{}.lock", self.name()),
        })
    }

    /// Opens the semaphore of mode slots.
    pub(super) fn open_slots(directory: &Path) -> Result<Semaphore, Error> {
        Semaphore::open(Mode::Slots.lock_file(directory), SLOTS)
    }

    /// Opens a lock of this mode; `member` is 0 if there is only one.
    pub(super) fn open(self, directory: &Path, member: usize) -> Result<FileLock, Error> {
        LockOptions::new()
            .family(self.family())
            .fair(self.is_fair() || self == Mode::Upgrade)
            .upgradeable(self == Mode::Upgrade)
            .delete_on_release(self == Mode::Deletion)
            .record(matches!(self, Mode::Record | Mode::Register))
            .open(self.member_file(directory, member))
    }
}

/// How many locks there are to make sets of.
pub(super) const SET: usize = 6;

/// How many slots the semaphore has.
pub(super) const SLOTS: u32 = 3;
