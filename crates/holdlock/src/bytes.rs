//! Which bytes of a lock file mean what.
//!
//! Locks of fcntl(2) cover bytes, which need not exist in the file. The library locks these:
//!
//! | bytes | meaning | kind of lock |
//! |---|---|---|
//! | all | the lock, with [`Family::Ofd`](crate::Family::Ofd) | OFD |
//! | 2^62 and 2^62 + 1 | the place at the head of the queue of fair requests | OFD, exclusive |
//! | 2^62 + 2^22 | a reader of an upgradeable lock; an upgrade keeps all readers out | OFD, shared; exclusive |
//! | 2^62 + 2^22 + 2 | the right to upgrade | OFD, exclusive |
//!
//! flock(2) knows no bytes: a lock of [`Family::Flock`](crate::Family::Flock) is one of the whole
//! file and does not meet those of fcntl(2). The queue's bytes are far behind the end of every
//! file, so that programs which lock parts of their data with fcntl(2) do not meet them either.
//! Such a program meets them where it locks the whole file.

use crate::Mode;

/// The bytes that a lock covers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Range {
    /// The first byte.
    pub start: u64,
    /// The last byte; None is the end of the file, wherever that may come to be.
    pub end: Option<u64>,
}

impl Range {
    /// The whole file.
    pub const WHOLE: Range = Range {
        start: 0,
        end: None,
    };

    /// The bytes by which fair requests queue
    /// ([`LockOptions::fair`](crate::LockOptions::fair)).
    pub const QUEUE: Range = Range {
        start: 1 << 62,
        end: Some((1 << 62) + 1),
    };

    /// What each shared holder of an [upgradeable](crate::LockOptions::upgradeable) lock shares,
    /// and what an upgrade locks for itself.
    pub(crate) const READERS: Range = Range::byte(UPGRADE);

    /// The right to upgrade.
    pub(crate) const RIGHT: Range = Range::byte(UPGRADE + 2);

    /// All bytes that a holder of an upgradeable lock has locked.
    pub(crate) const UPGRADE: Range = Range {
        start: UPGRADE,
        end: Some(UPGRADE + 2),
    };

    /// Whether there is a byte in both.
    pub fn overlaps(self, other: Range) -> bool {
        self.start <= other.end.unwrap_or(u64::MAX) && other.start <= self.end.unwrap_or(u64::MAX)
    }

    /// What a fair request of this mode locks to be at the head of the queue: the first byte for a
    /// shared request, both for an exclusive one. All of them exclude each other, and /proc/locks
    /// still shows which mode the request has.
    pub(crate) fn head_of_queue(mode: Mode) -> Range {
        let start = Range::QUEUE.start;
        match mode {
            Mode::Shared => Range {
                start,
                end: Some(start),
            },
            Mode::Exclusive => Range::QUEUE,
        }
    }

    const fn byte(at: u64) -> Range {
        Range {
            start: at,
            end: Some(at),
        }
    }
}

const UPGRADE: u64 = (1 << 62) + (1 << 22);
