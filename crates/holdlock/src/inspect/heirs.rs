//! Processes that have inherited a lock, and so may release it.

use std::collections::HashSet;

use super::certain;
use super::proc::file_id::FileId;
use super::proc::table::Kind;
use super::proc::{descriptors, file, survey};
use super::snapshot::{Holder, Lock, LockedFile, Snapshot};
use crate::Mode;

/// A snapshot that contains all holders of the locks for which a request waits, including the
/// processes that have inherited such a lock from a taker that still has it.
pub(crate) struct Heirs {
    pub(crate) snapshot: Snapshot,
    /// The holders whose locks another process may have inherited unseen.
    unknown: HashSet<u32>,
}

impl Heirs {
    /// Assumes that no process has inherited a lock.
    pub(crate) fn not_searched(snapshot: Snapshot) -> Heirs {
        Heirs {
            snapshot,
            unknown: HashSet::new(),
        }
    }

    /// Searches for the heirs of locks on files with waiting requests.
    pub(crate) fn of_contended(snapshot: &Snapshot) -> Heirs {
        Heirs::of(snapshot, |file| !file.waiters.is_empty())
    }

    fn of(snapshot: &Snapshot, wanted: impl Fn(&LockedFile) -> bool) -> Heirs {
        let (snapshot, hidden) = survey::with_all_holders(snapshot, &wanted);
        let mut unknown = HashSet::new();
        let mut known = HashSet::new();
        let files = snapshot.files.iter().filter(|file| wanted(file));
        let locks = files.flat_map(|file| &file.locks);
        for holder in locks.flat_map(|lock| &lock.holders) {
            let pid = holder.process.pid;
            let may_be_heir = |hidden: &u32| certain::may_be_heir(*hidden, pid);
            // The search for copies of a descriptor needs the link of the descriptor.
            let link = holder
                .descriptor
                .and_then(|number| descriptors::link(pid, number));
            if link.is_none() || known.insert(pid) && hidden.iter().any(may_be_heir) {
                unknown.insert(pid);
            }
        }
        Heirs { snapshot, unknown }
    }

    pub(super) fn may_be_unknown_of(&self, holder: u32) -> bool {
        self.unknown.contains(&holder)
    }
}

/// The process or ancestor because of which a request of process `pid` can never succeed: it holds
/// a lock that excludes the request, and all holders of that lock are the process itself or are
/// [bound](crate::inspect::bound_ancestors) to wait for its end. `None` if there is no such holder.
pub fn kept_by_bound(pid: u32, file_id: FileId, kind: Kind, mode: Mode) -> Option<u32> {
    let mut bound = certain::bound_or_deadly_ancestors(pid);
    bound.push(pid);
    if !certain::has_one_thread(pid) {
        return None;
    }
    let excludes = |other: Kind, its: Mode| {
        other.meets(kind) && (its == Mode::Exclusive || mode == Mode::Exclusive)
    };
    let keeps = |pid: &&u32| {
        let locks = descriptors::locks_of(**pid).unwrap_or_default();
        let mut locks = locks.iter();
        locks.any(|lock| lock.file_id == file_id && excludes(lock.kind, lock.mode))
    };
    let first = *bound.iter().find(keeps)?;
    let heirs = Heirs::of(&file::at_place(file_id).ok()?, |_| true);
    let files = heirs.snapshot.files.iter();
    let locks = files.flat_map(|file| &file.locks);
    let mut locks = locks.filter(|lock| excludes(lock.kind, lock.mode));
    let is_bound = |holder: &Holder| {
        let pid = holder.process.pid;
        bound.contains(&pid) && !heirs.may_be_unknown_of(pid)
    };
    let kept = locks.any(|lock| !lock.holders.is_empty() && lock.holders.iter().all(is_bound));
    kept.then_some(first)
}

/// The same for a request for a slot of a [`Semaphore`](crate::Semaphore) with this number of
/// slots: all of them are kept by such processes. Returns one of these.
pub fn slots_kept_by_bound(pid: u32, file_id: FileId, slots: u32) -> Option<u32> {
    let mut bound = certain::bound_or_deadly_ancestors(pid);
    bound.push(pid);
    if !certain::has_one_thread(pid) {
        return None;
    }
    let slots_of = |pid: &u32| {
        let locks = descriptors::locks_of(*pid).unwrap_or_default().into_iter();
        let here = locks.filter(move |lock| lock.file_id == file_id);
        here.filter_map(|lock| lock.slot).collect::<Vec<u32>>()
    };
    let kept: HashSet<u32> = bound.iter().flat_map(slots_of).collect();
    if kept.len() < slots as usize {
        return None;
    }
    let heirs = Heirs::of(&file::at_place(file_id).ok()?, |_| true);
    let locks = heirs.snapshot.files.iter().flat_map(|file| &file.locks);
    let is_bound = |holder: &Holder| {
        let pid = holder.process.pid;
        bound.contains(&pid) && !heirs.may_be_unknown_of(pid)
    };
    let is_kept = |lock: &&Lock| !lock.holders.is_empty() && lock.holders.iter().all(is_bound);
    let kept: Vec<&Lock> = locks
        .filter(|lock| lock.slot.is_some())
        .filter(is_kept)
        .collect();
    let holder = kept.first()?.holders.first()?.process.pid;
    (kept.len() >= slots as usize).then_some(holder)
}
