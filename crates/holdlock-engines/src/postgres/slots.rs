//! A lock that several may hold at the same time: one of N slots each.
//!
//! PostgreSQL cannot wait for one of several locks. The first waiter tries all slots, and listens
//! to holders that release one (NOTIFY). It looks again every second, because a holder that is
//! killed says nothing. It does not wait in a statement meanwhile, so it has no snapshot.

use std::time::Duration;

use super::connect::STATEMENT;
use super::key::{Key, slot};
use super::link::Failure;
use super::wait::Queue;

/// How often the first waiter looks for slots of holders that were killed.
const LOOK: Duration = Duration::from_secs(1);

impl Queue<'_> {
    /// Acquires a free slot, if there is one and nobody waits: the arguments of its advisory lock.
    pub(super) async fn try_slot(
        &self,
        slots: u32,
        passes: bool,
    ) -> Result<Option<String>, Failure> {
        let Key::Hashed(number) = self.key else {
            return Ok(None);
        };
        let free = if passes {
            "true".to_owned()
        } else {
            let tickets = self.key.ticket_rows();
            format!("NOT EXISTS (SELECT FROM pg_locks l WHERE {tickets})")
        };
        // The function is called for one row after the other, until it succeeds.
        let statement = format!(
            "SELECT n FROM (SELECT {free} AS free) f, generate_series(0, {last}) n \
             WHERE CASE WHEN free THEN pg_try_advisory_lock({first} + n) ELSE false END LIMIT 1",
            last = slots - 1,
            first = slot(number, 0),
        );
        let rows = self.ask(statement, STATEMENT).await?;
        let taken = rows
            .last()
            .and_then(|row| row.first()?.as_deref()?.parse().ok());
        let taken = taken.filter(|taken| *taken < slots);
        Ok(taken.map(|taken| slot(number, taken)))
    }

    /// Waits for a slot, as the first of those who wait.
    pub(super) async fn wait_for_slot(&self, slots: u32) -> Result<String, Failure> {
        // Before the look: what is released after it is heard.
        self.ask(format!("LISTEN {}", channel(self.key)), STATEMENT)
            .await?;
        loop {
            if let Some(slot) = self.try_slot(slots, true).await? {
                return Ok(slot);
            }
            let _ = tokio::time::timeout(LOOK, self.link.notified()).await;
        }
    }
}

/// What those who release a slot say.
pub(super) fn channel(key: Key) -> String {
    match key {
        Key::Hashed(number) => format!("holdlock_{:x}", (number >> 24) & 0xff_ffff_ffff),
        _ => "holdlock".to_owned(),
    }
}
