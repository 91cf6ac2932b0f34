//! Which advisory locks stand for a lock: the lock itself, and the tickets of those who wait.
//!
//! A name becomes 40 bits of a hash. The other 24 bits of the advisory lock's number are 0 for the
//! lock itself, and the ticket's number for a ticket. The greatest numbers are the slots of a lock
//! that several may hold (`slots=`). A number that the user has given with `key=`
//! leaves no room for tickets.

use sha2::{Digest, Sha256};

use crate::Error;
use crate::url::wrong;

/// The most slots.
pub(super) const SLOTS: u32 = 1024;
/// The last ticket; slots follow.
pub(super) const TICKETS: u32 = (1 << 24) - 1 - SLOTS;

/// The advisory locks of one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// With tickets. The low 24 bits are 0.
    Hashed(i64),
    /// A single number, as `pg_advisory_lock(N)` takes it.
    Number(i64),
    /// Two numbers, as `pg_advisory_lock(A, B)` takes them.
    Pair(i32, i32),
}

/// The slot of this number, counted from 0: the arguments of the advisory lock functions.
pub(super) fn slot(number: i64, slot: u32) -> String {
    format!("'{}'::int8", number | i64::from(TICKETS + 1 + slot))
}

impl Key {
    pub(super) fn of_name(name: &str) -> Key {
        let digest = Sha256::new().chain_update("holdlock:").chain_update(name);
        let digest = digest.finalize();
        let first = digest.iter().take(5);
        let bits = first.fold(0_i64, |bits, &byte| bits << 8 | i64::from(byte));
        Key::Hashed(bits << 24)
    }

    pub(super) fn parse(text: &str) -> Result<Key, Error> {
        let key = match text.split_once(',') {
            None => text.parse().ok().map(Key::Number),
            Some((a, b)) => match (a.parse(), b.parse()) {
                (Ok(a), Ok(b)) => Some(Key::Pair(a, b)),
                _ => None,
            },
        };
        key.ok_or_else(|| {
            wrong(
                "key= is no key of an advisory lock",
                "write key=N with a number of 64 bits, or key=A,B with two of 32 bits",
            )
        })
    }

    /// The arguments of the advisory lock functions for the lock itself.
    pub(super) fn arguments(self) -> String {
        match self {
            Key::Hashed(number) | Key::Number(number) => format!("'{number}'::int8"),
            Key::Pair(a, b) => format!("'{a}'::int4, '{b}'::int4"),
        }
    }

    /// The same for a ticket. None if there are no tickets, or no more.
    pub(super) fn ticket(self, ticket: u32) -> Option<String> {
        match self {
            Key::Hashed(number) if (1..=TICKETS).contains(&ticket) => {
                Some(format!("'{}'::int8", number | i64::from(ticket)))
            }
            _ => None,
        }
    }

    pub(super) fn has_tickets(self) -> bool {
        matches!(self, Key::Hashed(_))
    }

    /// The number of the ticket that a row of `pg_locks l` is; 0 for the lock itself.
    pub(super) fn ticket_column(self) -> &'static str {
        match self {
            Key::Hashed(_) => "(l.objid::int8 & 16777215)",
            _ => "0::int8",
        }
    }

    /// The rows of `pg_locks l` for the lock and its tickets.
    pub(super) fn rows(self) -> String {
        let (class, object, kind) = match self {
            Key::Hashed(number) | Key::Number(number) => ((number >> 32) as u32, number as u32, 1),
            Key::Pair(a, b) => (a as u32, b as u32, 2),
        };
        let object = match self {
            Key::Hashed(_) => format!("(l.objid::int8 & 4278190080) = {object}"),
            _ => format!("l.objid::int8 = {object}"),
        };
        format!(
            "l.locktype = 'advisory' AND l.objsubid = {kind} AND l.classid::int8 = {class} \
             AND {object} AND l.database = \
             (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())"
        )
    }

    /// The rows of the lock itself.
    pub(super) fn lock_rows(self) -> String {
        format!("{} AND {} = 0", self.rows(), self.ticket_column())
    }

    /// The rows of tickets that are taken.
    pub(super) fn ticket_rows(self) -> String {
        format!(
            "{} AND {column} BETWEEN 1 AND {TICKETS} AND l.granted AND l.mode = 'ExclusiveLock'",
            self.rows(),
            column = self.ticket_column()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_always_the_same_key() {
        // The first five bytes of `printf holdlock:nightly | sha256sum`.
        assert_eq!(Key::of_name("nightly"), Key::Hashed(NIGHTLY << 24));
        assert_ne!(Key::of_name("nightly"), Key::of_name("nightlY"));
    }

    const NIGHTLY: i64 = 0xe3_3d9b_bc98;

    #[test]
    fn tickets_are_beside_the_lock_and_end() {
        let key = Key::Hashed(-1 << 24);
        assert_eq!(key.ticket(1).as_deref(), Some("'-16777215'::int8"));
        assert_eq!(key.ticket(TICKETS).as_deref(), Some("'-1025'::int8"));
        assert_eq!(slot(-1 << 24, 0), "'-1024'::int8");
        assert_eq!(slot(-1 << 24, SLOTS - 1), "'-1'::int8");
        assert_eq!(key.ticket(0), None);
        assert_eq!(key.ticket(TICKETS + 1), None);
        assert_eq!(Key::Number(5).ticket(1), None);
    }

    #[test]
    fn keys_are_numbers() {
        assert_eq!(Key::parse("-5").ok(), Some(Key::Number(-5)));
        assert_eq!(Key::parse("1,-2").ok(), Some(Key::Pair(1, -2)));
        for text in [
            "",
            "a",
            "1,",
            "1,2,3",
            "3000000000,1",
            "9223372036854775808",
            "1; DROP",
        ] {
            assert!(Key::parse(text).is_err(), "{text}");
        }
    }
}
