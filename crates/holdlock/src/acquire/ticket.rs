//! Tickets: the order of the requests that wait for the head of the queue.
//!
//! The kernel serves those that sleep for a lock in the order of their arrival, but it does not
//! hand the lock over: it wakes the first sleeper, and a newcomer that asks before that one runs is
//! quicker. Each request that is passed in this way sleeps anew, behind requests that came later.
//! Tickets close this gap for requests for a slot, and for fair requests for the file of a
//! semaphore that is in use.
//!
//! * A request that has to wait takes a ticket: it locks the first ticket above all tickets that
//!   others have. If two requests try the same one, the kernel gives it to one of them, and the
//!   other one looks again.
//! * It sleeps in fcntl(2) for the nearest ticket below its own. No other request sleeps for that
//!   one, so nobody can be quicker. When it wakes up, it looks whether a lower ticket is left, and
//!   sleeps for that one. So a request that ends, or is killed, in the middle of the queue does not
//!   disturb the order of the others.
//! * When no lower ticket is left, it takes the place at the head. It keeps its ticket until it
//!   leaves the head, which wakes one request: the next one.
//! * A newcomer goes to the head without a ticket only if nobody has a ticket.
//!
//! A request that has a ticket when another one arrives is therefore served first. The order of two
//! requests that arrive at the same moment is open: one may look for the highest ticket before the
//! other one has its own, and get a lower one later. Then both may find no lower ticket, and sleep
//! for the head. Tickets only make the order; the place at the head is what excludes.
//!
//! Numbers begin at 0 again when nobody has a ticket. They would last for 2^59 requests without
//! such a moment.
//!
//! Other fair requests have no tickets, because the strict order has a price: each request that
//! finds others in the queue sleeps, and where the sections are short, most time goes into waking
//! the next one. Sixteen threads that do nothing between an acquisition and the next one got a lock
//! six times less often with tickets, on a busy machine with two processors (`holdlock torture`).
//!
//! A ticket is a lock of the kernel, so that the death of its owner gives it back. A stopped
//! process keeps it, and so holds up the requests behind it.

use std::io;

use crate::Mode;
use crate::acquire::open::LockFile;
use crate::bytes::Range;
use crate::sys::file_lock::Blocking;

/// The number of the ticket that a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// Takes a ticket above all others. None: a lock of another program covers the tickets.
    pub(super) fn take(file: &LockFile, place: Range) -> io::Result<Option<Ticket>> {
        // All tickets that others had at the beginning are below `lowest`, or were looked for.
        let mut lowest = 0;
        // The kernel names any one of several locks. Leap over the others.
        let mut leap = 0;
        loop {
            let number = lowest + leap;
            let Some(own) = Range::ticket(number, place) else {
                return Ok(None);
            };
            match file.locked_by_others(Range::tickets(number, None))? {
                Some(found) => match found.as_ticket() {
                    Some(found) => (lowest, leap) = (found + 1, 2 * leap + 1),
                    None => return Ok(None),
                },
                None if leap > 0 => leap /= 2,
                None => match file.lock_bytes(Mode::Exclusive, own, Blocking::No) {
                    Ok(()) => return Ok(Some(Ticket(number))),
                    // Another request was quicker.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// Whether a request for this place takes a ticket before it sleeps.
    pub(super) fn are_used(file: &LockFile, place: Range) -> io::Result<bool> {
        Ok(place == Range::QUEUE
            || file.locked_by_others(Range::SEMAPHORE)?.is_some()
            || file.locked_by_others(Range::TICKETS)?.is_some())
    }

    /// Whether a request without a ticket, or with this one, is the next for the head.
    pub(super) fn is_next(ticket: Option<Ticket>, file: &LockFile) -> io::Result<bool> {
        let before = match ticket {
            Some(Ticket(0)) => return Ok(true),
            Some(Ticket(own)) => Range::tickets(0, Some(own)),
            None => Range::TICKETS,
        };
        Ok(file.locked_by_others(before)?.is_none())
    }

    /// What to sleep for, as /proc/locks has to show it for a request for `place`: the nearest
    /// ticket below this one. None: there is no lower ticket.
    pub(super) fn before(self, file: &LockFile, place: Range) -> io::Result<Option<Range>> {
        let Ticket(own) = self;
        let above = |from| {
            let others = (from < own).then(|| Range::tickets(from, Some(own)));
            let found = others.map(|others| file.locked_by_others(others));
            let found = found.transpose()?.flatten();
            Ok::<_, io::Error>(found.and_then(Range::as_ticket))
        };
        // Look at the nearest first, because the kernel names any one of several.
        let mut distance = 1;
        let mut nearest = loop {
            let from = own.saturating_sub(distance);
            match above(from)? {
                Some(found) => break found,
                None if from == 0 => return Ok(None),
                None => distance = distance.saturating_mul(2),
            }
        };
        while let Some(nearer) = above(nearest + 1)? {
            nearest = nearer;
        }
        Ok(Range::ticket(nearest, place))
    }
}
