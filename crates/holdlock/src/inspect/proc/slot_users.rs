//! Makes one lock of the locks by which a process holds a slot of a semaphore.

use std::collections::{HashMap, HashSet};

use super::descriptors::DescriptorLock;
use super::table::Kind;
use crate::Mode;
use crate::inspect::snapshot::Lock;

/// The descriptors of a file, of processes that use it as a semaphore.
pub(super) struct SlotUsers {
    /// By process and descriptor.
    slots: HashMap<(u32, u32), u32>,
    at_head: HashSet<(u32, u32)>,
}

impl SlotUsers {
    pub(super) fn among(open: &[(u32, DescriptorLock)]) -> SlotUsers {
        let mut users = SlotUsers {
            slots: HashMap::new(),
            at_head: HashSet::new(),
        };
        for (pid, lock) in open {
            let user = (*pid, lock.descriptor);
            if let Some(slot) = lock.entry.range.as_slot().filter(|_| lock.entry.is_slot()) {
                users.slots.insert(user, slot);
            } else if lock.entry.is_for_a_slot() {
                users.at_head.insert(user);
            }
        }
        users
    }

    /// The slot that a process has by this descriptor.
    pub(super) fn slot(&self, pid: u32, descriptor: u32) -> Option<u32> {
        self.slots.get(&(pid, descriptor)).copied()
    }

    /// A holder of a slot has two locks, which become one: the shared lock of flock(2) with the
    /// number of the slot. The request at the head has the shared lock already, and is no holder.
    pub(super) fn name_slots(&self, locks: &mut Vec<Lock>) {
        let users = |lock: &Lock| {
            let holders = lock.holders.iter();
            let users = holders.filter_map(|it| Some((it.process.pid, it.descriptor?)));
            users.collect::<Vec<_>>()
        };
        let is_flock = |lock: &Lock| lock.kind == Kind::Flock && lock.mode == Mode::Shared;
        let mut named = HashSet::new();
        locks.retain_mut(|lock| {
            let users = users(lock);
            if is_flock(lock) {
                lock.slot = users.iter().find_map(|user| self.slots.get(user).copied());
                named.extend(lock.slot);
            }
            let waits = |user: &(u32, u32)| self.at_head.contains(user);
            !(is_flock(lock) && lock.slot.is_none() && users.iter().any(waits))
        });
        locks.retain(|lock| is_flock(lock) || lock.slot.is_none_or(|slot| !named.contains(&slot)));
    }
}
