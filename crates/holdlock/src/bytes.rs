//! Which bytes of a lock file mean what.
//!
//! Locks of fcntl(2) cover bytes, which need not exist in the file. The library locks these:
//!
//! | bytes | meaning | kind of lock |
//! |---|---|---|
//! | all | the lock, with [`Family::Ofd`](crate::Family::Ofd) | OFD |
//! | 2^61 + 4 K | ticket K: a place in the queue of fair requests and of requests for a slot | OFD, exclusive |
//! | 2^62 to 2^62 + 2 | the place at the head of this queue; shared by requests that pass it while no request waits | OFD, exclusive; shared |
//! | 2^62 + 2^20 + N | a user of the semaphore with N slots holds a slot, or waits for one at the head of the queue | OFD, shared |
//! | 2^62 + 2^21 + K | slot K of the semaphore | OFD, exclusive |
//! | 2^62 + 2^22 | a reader of an upgradeable lock; an upgrade keeps all readers out | OFD, shared; exclusive |
//! | 2^62 + 2^22 + 2 | the right to upgrade | OFD, exclusive |
//!
//! flock(2) knows no bytes: a lock of [`Family::Flock`](crate::Family::Flock) is one of the whole
//! file and does not meet those of fcntl(2). The bytes from 2^61 on are far behind the end of every
//! file, so that programs which lock parts of their data with fcntl(2) do not meet them either.
//! Such a program meets them where it locks the whole file.
//!
//! The kernel merges adjacent locks of one kind and one open file. Therefore the ranges are apart.

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
    /// ([`LockOptions::fair`](crate::LockOptions::fair)), and requests for a slot of a
    /// [`Semaphore`](crate::Semaphore).
    pub const QUEUE: Range = Range {
        start: 1 << 62,
        end: Some((1 << 62) + 2),
    };

    /// The tickets of the requests that wait in the queue. They are the first bytes that the
    /// library locks: before them are only the locks of other programs.
    pub const TICKETS: Range = Range {
        start: FIRST_TICKET,
        end: Some(Range::QUEUE.start - 2),
    };

    /// All bytes that a request in the queue has locked.
    pub(crate) const TICKETS_AND_HEAD: Range = Range {
        start: Range::TICKETS.start,
        end: Range::QUEUE.end,
    };

    /// The slots of a [`Semaphore`](crate::Semaphore), one byte for each.
    pub const SLOTS: Range = Range {
        start: FIRST_SLOT,
        end: Some(FIRST_SLOT + MAX_SLOTS as u64 - 1),
    };

    /// By which number of slots a file is used: the byte at position N for N slots.
    pub(crate) const SLOT_COUNTS: Range = Range {
        start: FIRST_COUNT,
        end: Some(FIRST_COUNT + MAX_SLOTS as u64),
    };

    /// All bytes that the holder of a slot has locked.
    pub(crate) const SEMAPHORE: Range = Range {
        start: FIRST_COUNT,
        end: Range::SLOTS.end,
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

    /// Whether the library locks these bytes beside a lock of flock(2).
    pub(crate) fn is_beside_flock(self) -> bool {
        self.start >= FIRST_TICKET && self.end.is_some()
    }

    /// What a fair request of this mode locks to be at the head of the queue: the first byte for a
    /// shared request, the first two for an exclusive one. A request for a slot locks all three
    /// bytes. All of them exclude each other, and /proc/locks still shows what is requested.
    pub(crate) const fn head_of_queue(mode: Mode) -> Range {
        let start = Range::QUEUE.start;
        match mode {
            Mode::Shared => Range {
                start,
                end: Some(start),
            },
            Mode::Exclusive => Range {
                start,
                end: Some(start + 1),
            },
        }
    }

    /// The bytes of a ticket. There are as many of them as `place` has, which the request locks at
    /// the head, and so /proc/locks shows here as well what is requested. None: the number is too
    /// high.
    pub(crate) fn ticket(number: u64, place: Range) -> Option<Range> {
        let start = FIRST_TICKET + number.checked_mul(TICKET_DISTANCE)?;
        let end = start + (place.end? - place.start);
        (end <= Range::TICKETS.end?).then_some(Range {
            start,
            end: Some(end),
        })
    }

    /// The tickets from number `from` up to the one before number `to`, or to the last one.
    pub(crate) fn tickets(from: u64, to: Option<u64>) -> Range {
        Range {
            start: FIRST_TICKET + from * TICKET_DISTANCE,
            end: match to {
                Some(to) => Some(FIRST_TICKET + to * TICKET_DISTANCE - 1),
                None => Range::TICKETS.end,
            },
        }
    }

    /// The number of the ticket that these bytes are, or begin with.
    pub(crate) fn as_ticket(self) -> Option<u64> {
        let is_ticket = self.start >= FIRST_TICKET && self.end? <= Range::TICKETS.end?;
        is_ticket.then(|| (self.start - FIRST_TICKET) / TICKET_DISTANCE)
    }

    /// The byte of one slot.
    pub(crate) fn slot(number: u32) -> Range {
        Range::byte(FIRST_SLOT + u64::from(number))
    }

    /// The byte that stands for this number of slots.
    pub(crate) fn slot_count(slots: u32) -> Range {
        Range::byte(FIRST_COUNT + u64::from(slots))
    }

    /// The slot whose byte this is. A process that acquires two slots at the same time has both
    /// bytes for a moment, until it has given one back: this is the first of them.
    pub(crate) fn as_slot(self) -> Option<u32> {
        let is_slot = self.start >= FIRST_SLOT && self.start <= Range::SLOTS.end?;
        is_slot.then(|| (self.start - FIRST_SLOT) as u32)
    }

    /// The number of slots for which this byte stands.
    pub(crate) fn as_slot_count(self) -> Option<u32> {
        let is_count = self.start >= FIRST_COUNT && self.start <= Range::SLOT_COUNTS.end?;
        is_count.then(|| (self.start - FIRST_COUNT) as u32)
    }

    const fn byte(at: u64) -> Range {
        Range {
            start: at,
            end: Some(at),
        }
    }
}

/// The most slots that a [`Semaphore`](crate::Semaphore) can have.
pub(crate) const MAX_SLOTS: u32 = 256;

const FIRST_TICKET: u64 = 1 << 61;
const TICKET_DISTANCE: u64 = 4;
const FIRST_COUNT: u64 = (1 << 62) + (1 << 20);
const FIRST_SLOT: u64 = (1 << 62) + (1 << 21);
const UPGRADE: u64 = (1 << 62) + (1 << 22);
