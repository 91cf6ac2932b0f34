//! Waiting for the lock in the order of arrival.
//!
//! Who waits takes a ticket, an advisory lock of its own, and waits for the ticket before it; the
//! first one waits for the lock. A ticket is free again when its session ends, so a waiter that is
//! killed leaves no gap.
//!
//! A session that waits in a statement has a snapshot, for which CREATE INDEX CONCURRENTLY and
//! others wait. Therefore waits are cut into slices, and the ticket keeps the place. The end of a
//! slice is caught inside the statement: otherwise the server's log would get a line for each.
//!
//! A waiter that is stopped sits idle with its ticket and would keep those behind it. The server
//! ends such a session (`idle_session_timeout`, from PostgreSQL 14 on).

use std::time::{Duration, Instant};

use holdlock::Mode;

use super::connect::STATEMENT;
use super::key::{Key, TICKETS};
use super::link::{Failure, Link, Row};
use super::members;
use crate::Member;
use crate::engine::{Attempt, Stage};

/// How long a statement waits.
const SLICE: Duration = Duration::from_secs(5);
/// How long a waiter may say nothing.
const STOPPED: Duration = Duration::from_secs(15);

/// A lock that a session is to get.
pub(super) struct Queue<'a> {
    pub(super) link: &'a Link,
    pub(super) key: Key,
    pub(super) mode: Mode,
    pub(super) version: u32,
    /// How many may hold the lock, if it has slots.
    pub(super) slots: Option<u32>,
    /// A comment with the record, which others see beside the statement.
    pub(super) comment: &'a str,
}

/// What a request has acquired, as arguments of the advisory lock functions.
pub(super) struct Acquired {
    pub(super) lock: String,
    /// To be given back.
    pub(super) ticket: Option<String>,
}

impl Queue<'_> {
    /// Acquires the lock if it is free and nobody waits.
    pub(super) async fn try_now(&self) -> Result<Option<Acquired>, Failure> {
        let lock = match self.slots {
            Some(slots) => self.try_slot(slots, false).await?,
            None => self.try_lock().await?.then(|| self.key.arguments()),
        };
        Ok(lock.map(|lock| Acquired { lock, ticket: None }))
    }

    async fn try_lock(&self) -> Result<bool, Failure> {
        let (shared, key) = (self.suffix(), self.key.arguments());
        let lock = format!("pg_try_advisory_lock{shared}({key})");
        let statement = match self.key.has_tickets() {
            true => format!(
                "SELECT CASE WHEN EXISTS (SELECT FROM pg_locks l WHERE {}) THEN false ELSE {lock} END",
                self.key.ticket_rows()
            ),
            false => format!("SELECT {lock}"),
        };
        let rows = self.ask(statement, STATEMENT).await?;
        Ok(is_true(&rows))
    }

    /// Acquires the lock when it is this request's turn.
    pub(super) async fn wait(&self, attempt: &Attempt) -> Result<Acquired, Failure> {
        let mut ticket = self.take_ticket().await?;
        // Others see its place now.
        attempt.progress.waits(attempt.progress.stage());
        loop {
            let began = Instant::now();
            let before = match ticket {
                Some(ticket) => self.before(ticket).await?,
                None => None,
            };
            match before.and_then(|before| self.key.ticket(before)) {
                Some(before) => self.wait_behind(&before, attempt).await?,
                None => {
                    let lock = match self.slots {
                        Some(slots) => Some(self.wait_for_slot(slots).await?),
                        None => (self.wait_for_lock(attempt).await?).then(|| self.key.arguments()),
                    };
                    if let Some(lock) = lock {
                        let ticket = ticket.take().and_then(|ticket| self.key.ticket(ticket));
                        return Ok(Acquired { lock, ticket });
                    }
                }
            }
            if began.elapsed() > SLICE / 2 {
                attempt
                    .progress
                    .learned(Stage::Waiting(self.holders().await?));
            }
        }
    }

    /// Who holds the lock now.
    pub(super) async fn holders(&self) -> Result<Vec<Member>, Failure> {
        let rows = self.ask(members::statement(self.key), STATEMENT).await?;
        Ok(members::read(&rows, self.key).holders)
    }

    /// A ticket behind all others. None if there are no tickets: then the server's own queue has to
    /// do, whose order is lost at the end of each slice.
    async fn take_ticket(&self) -> Result<Option<u32>, Failure> {
        let Key::Hashed(number) = self.key else {
            return Ok(None);
        };
        let timeout = match self.version {
            14.. => format!("SET idle_session_timeout = '{}s'; ", STOPPED.as_secs()),
            _ => String::new(),
        };
        let mut least = 1;
        loop {
            if self.key.ticket(least).is_none() {
                return Ok(None);
            }
            // A number may be in use though no ticket shows it: somebody waits behind it.
            let statement = format!(
                "{timeout}SELECT t.n, t.n <= {TICKETS} AND pg_try_advisory_lock('{number}'::int8 | t.n) \
                 FROM (SELECT greatest(coalesce(max({column}), 0) + 1, {least}) AS n \
                 FROM pg_locks l WHERE {rows}) t",
                column = self.key.ticket_column(),
                rows = self.key.ticket_rows(),
            );
            let rows = self.ask(statement, STATEMENT).await?;
            let row = rows.last();
            let field = |index: usize| row.and_then(|row| row.get(index)?.as_deref());
            let tried: u32 = field(0).and_then(|n| n.parse().ok()).unwrap_or(u32::MAX);
            if field(1) == Some("t") {
                return Ok(Some(tried));
            }
            least = tried.saturating_add(1);
        }
    }

    /// The ticket before this one.
    async fn before(&self, ticket: u32) -> Result<Option<u32>, Failure> {
        let column = self.key.ticket_column();
        let statement = format!(
            "SELECT max({column}) FROM pg_locks l WHERE {} AND {column} < {ticket}",
            self.key.ticket_rows()
        );
        let rows = self.ask(statement, STATEMENT).await?;
        let before = rows.last().and_then(|row| row.first()?.as_deref());
        Ok(before.and_then(|before| before.parse().ok()))
    }

    /// Sleeps until the ticket before is given back, at most for a slice.
    async fn wait_behind(&self, before: &str, attempt: &Attempt) -> Result<(), Failure> {
        let slice = attempt.left(SLICE);
        let wait = in_a_slice(
            slice,
            &format!(
                "PERFORM pg_advisory_lock_shared({before}); \
                 PERFORM pg_advisory_unlock_shared({before});"
            ),
        );
        // At the end of a slice the lock may have been granted all the same.
        let statement = format!(
            "{wait} SELECT pg_advisory_unlock_shared({before}) FROM pg_locks l \
             WHERE {rows} AND l.granted AND l.mode = 'ShareLock' AND l.pid = pg_backend_pid() \
             AND {column} = ({before} & 16777215)",
            rows = self.key.rows(),
            column = self.key.ticket_column(),
        );
        self.ask(statement, slice + STATEMENT).await.map(drop)
    }

    /// Waits for the lock itself, at most for a slice: whether it was granted. The server may grant
    /// it at the very end of the slice (307 of 2146 ends, measured), so the look at pg_locks
    /// decides.
    async fn wait_for_lock(&self, attempt: &Attempt) -> Result<bool, Failure> {
        let slice = attempt.left(SLICE);
        let (shared, key) = (self.suffix(), self.key.arguments());
        let wait = in_a_slice(slice, &format!("PERFORM pg_advisory_lock{shared}({key});"));
        let mode = match self.mode {
            Mode::Shared => "ShareLock",
            Mode::Exclusive => "ExclusiveLock",
        };
        let statement = format!(
            "{wait} SELECT count(*) > 0 FROM pg_locks l \
             WHERE {} AND l.granted AND l.mode = '{mode}' AND l.pid = pg_backend_pid()",
            self.key.lock_rows()
        );
        let rows = self.ask(statement, slice + STATEMENT).await?;
        Ok(is_true(&rows))
    }

    pub(super) async fn ask(
        &self,
        statement: String,
        limit: Duration,
    ) -> Result<Vec<Row>, Failure> {
        let statement = format!("{} {statement}", self.comment);
        self.link.query(statement, limit).await
    }

    fn suffix(&self) -> &'static str {
        suffix(self.mode)
    }
}

/// What the names of the functions for shared locks end with.
pub(super) fn suffix(mode: Mode) -> &'static str {
    match mode {
        Mode::Shared => "_shared",
        Mode::Exclusive => "",
    }
}

fn is_true(rows: &[Row]) -> bool {
    rows.last().and_then(|row| row.first()?.as_deref()) == Some("t")
}

/// A block that ends quietly when the slice ends.
fn in_a_slice(slice: Duration, wait: &str) -> String {
    // Zero would mean without limit.
    let millis = slice.as_millis().max(1);
    format!(
        "SET lock_timeout = {millis}; DO $$BEGIN {wait} \
         EXCEPTION WHEN lock_not_available THEN NULL; END$$;"
    )
}
