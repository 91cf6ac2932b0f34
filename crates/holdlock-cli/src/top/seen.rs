//! For how long each wait has been seen.
//!
//! The kernel does not record when a wait began, so a wait begins with the first look that sees
//! the process in the queue. If a process acquires the lock and queues again between two looks, the
//! two waits count as one.

use std::collections::HashMap;
use std::time::Instant;

use holdlock::inspect::{FileId, Snapshot};

#[derive(Default)]
pub(super) struct Seen(HashMap<(u32, FileId), Instant>);

impl Seen {
    pub(super) fn update(&mut self, snapshot: &Snapshot, now: Instant) {
        let waits = snapshot.files.iter().flat_map(|file| {
            let pids = file.waiters.iter().filter_map(|waiter| {
                let process = waiter.process.as_ref()?;
                Some(process.pid)
            });
            pids.map(|pid| (pid, file.file_id))
        });
        self.keep(waits, now);
    }

    fn keep(&mut self, waits: impl Iterator<Item = (u32, FileId)>, now: Instant) {
        let before = std::mem::take(&mut self.0);
        self.0 = waits
            .map(|wait| (wait, before.get(&wait).copied().unwrap_or(now)))
            .collect();
    }

    pub(super) fn since(&self, pid: u32, file_id: FileId) -> Option<Instant> {
        self.0.get(&(pid, file_id)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wait_lasts_while_it_is_seen() {
        let file_id = |inode| FileId {
            major: 0,
            minor: 1,
            inode,
        };
        let first = Instant::now();
        let later = first + Duration::from_secs(5);
        let mut seen = Seen::default();
        seen.keep([(7, file_id(1))].into_iter(), first);
        seen.keep([(7, file_id(1)), (7, file_id(2))].into_iter(), later);
        assert_eq!(seen.since(7, file_id(1)), Some(first));
        assert_eq!(seen.since(7, file_id(2)), Some(later));
        seen.keep([].into_iter(), later);
        assert_eq!(seen.since(7, file_id(1)), None);
    }
}
