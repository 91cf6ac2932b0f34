//! The requests that wait for a file's locks, in the order in which they are served.

use super::Survey;
use crate::inspect::proc::blocked::{self, Blocked};
use crate::inspect::proc::file_id::FileId;
use crate::inspect::proc::table::TableEntry;
use crate::inspect::snapshot::Waiter;

impl Survey {
    pub(super) fn waiters(&mut self, file_id: FileId, entries: &[TableEntry]) -> Vec<Waiter> {
        let mut waiting: Vec<&TableEntry> =
            entries.iter().filter(|entry| !entry.is_held()).collect();
        // Requests of the same turn stay in the order in which the kernel wakes them. Fair requests
        // that still wait for their turn come after the requests for the lock itself: first those
        // that wait for the head of the queue, and then by their tickets.
        waiting.sort_by_key(|entry| (entry.is_for_a_turn(), entry.range.as_ticket(), entry.turn));
        // The request at the head waits for each slot, and is one request.
        let mut has_slot = false;
        waiting.retain(|entry| !entry.is_slot() || !std::mem::replace(&mut has_slot, true));
        let last_turn = |entries: &mut dyn Iterator<Item = &&TableEntry>| {
            entries.map(|entry| entry.turn).max().unwrap_or(0)
        };
        let at_the_lock = last_turn(&mut waiting.iter().filter(|entry| !entry.is_for_a_turn()));
        let has_no_ticket =
            |entry: &&&TableEntry| entry.is_for_a_turn() && entry.range.as_ticket().is_none();
        let mut turns = at_the_lock + last_turn(&mut waiting.iter().filter(has_no_ticket));
        let unnamed = waiting.iter().any(|entry| entry.pid.is_none());
        let mut blocked = if unnamed {
            self.blocked_at(file_id)
        } else {
            Vec::new()
        };
        waiting
            .iter()
            .map(|entry| {
                let (pid, descriptor) = match entry.pid {
                    Some(pid) => (Some(pid), None),
                    None => match take_matching(&mut blocked, entry) {
                        Some(blocked) => (Some(blocked.pid), Some(blocked.descriptor)),
                        None => (None, None),
                    },
                };
                let (kind, mode, range) = entry.wanted();
                let turn = if !entry.is_for_a_turn() {
                    entry.turn
                } else if entry.range.as_ticket().is_none() {
                    at_the_lock + entry.turn
                } else {
                    turns += 1;
                    turns
                };
                Waiter {
                    kind,
                    mode,
                    range,
                    turn,
                    process: pid.and_then(|pid| self.processes.look_up(pid)),
                    descriptor,
                }
            })
            .collect()
    }

    fn blocked_at(&mut self, file_id: FileId) -> Vec<Blocked> {
        let untraceable = &mut self.untraceable;
        let all = self.blocked.get_or_insert_with(|| {
            let (found, denied) = blocked::look();
            *untraceable = denied;
            found
        });
        let here = all.iter().filter(|blocked| blocked.file_id == file_id);
        here.cloned().collect()
    }
}

/// Removes and returns a request of this mode and range.
fn take_matching(blocked: &mut Vec<Blocked>, entry: &TableEntry) -> Option<Blocked> {
    let at = blocked
        .iter()
        .position(|blocked| blocked.mode == entry.mode && blocked.range == entry.range)?;
    Some(blocked.remove(at))
}
