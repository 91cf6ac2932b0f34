//! Waiting for the turn: asleep until the one before leaves, while the lease is renewed.
//!
//! What a waiter asks at each renewal must not cost the cluster more when more waiters are there:
//! etcd reads the whole queue to find the oldest or the newest key.

use std::time::{Duration, Instant};

use super::PAUSE;
use super::failure::Failure;
use super::place::{Before, Look, Place};
use super::watch::{Watch, Watched};
use crate::engine::{Attempt, Stage};
use crate::sys::clock::BootTime;

/// How often a waiter looks who holds the lock, for the message if it gives up.
const LOOK: Duration = Duration::from_secs(5);

/// How a wait ends.
pub(super) enum Turn {
    Held,
    /// The place in the queue was lost.
    Gone,
}

impl Place {
    /// Waits until nobody is before us. Each time that somebody has left, the own key is looked at
    /// again: a process that was stopped may have lost its place meanwhile.
    pub(super) async fn wait(
        &self,
        mut before: Before,
        attempt: &Attempt,
    ) -> Result<Turn, Failure> {
        let mut watch: Option<(Watched, Watch)> = None;
        let mut looked = Instant::now();
        loop {
            if watch
                .as_ref()
                .is_none_or(|(watched, _)| *watched != before.watched)
            {
                let from = before.revision + 1;
                watch = match Watch::open(&self.client, &before.watched, from).await {
                    Ok(opened) => Some((before.watched.clone(), opened)),
                    Err(Failure::Silent(_) | Failure::Limit(_) | Failure::Expired(_)) => None,
                    Err(failure) => return Err(failure),
                };
            }
            tokio::select! {
                biased;
                () = left(&mut watch, &mut before) => {}
                () = tokio::time::sleep(self.due().remaining()) => {
                    if !self.keep_alive(self.persistence()).await? {
                        return Ok(Turn::Gone);
                    }
                    if looked.elapsed() > LOOK {
                        let holders = self.client.holders(self.persistence()).await?;
                        attempt.progress.learned(Stage::Waiting(holders));
                        looked = Instant::now();
                    }
                    if self.is_still_behind(&before).await? {
                        continue;
                    }
                }
            }
            before = match self.look(self.persistence()).await? {
                Look::Free => return Ok(Turn::Held),
                Look::Gone => return Ok(Turn::Gone),
                Look::Behind(before) => before,
            };
        }
    }

    /// When the lease has to be renewed.
    pub(super) fn due(&self) -> BootTime {
        self.confirmed().plus(self.ttl() / 3)
    }
}

/// Ready when enough of those before have left, or when that has to be looked at.
async fn left(watch: &mut Option<(Watched, Watch)>, before: &mut Before) {
    while let Some((_, open)) = watch {
        let Ok(deleted) = open.deleted().await else {
            *watch = None;
            break;
        };
        before.keys.retain(|key| !deleted.contains(key));
        if before.keys.len() <= before.may_stay {
            return;
        }
    }
    // Without a watch, or until the next one.
    tokio::time::sleep(PAUSE).await;
}
