//! Deadlocks: processes that wait for one another in a cycle.
//!
//! `graph` finds the cycles. A cycle is certain if no process in it has a way out. A way out is
//! another thread, a time limit, a process that has inherited a lock and may release it, or a
//! parent that may be waiting for another child. A cycle in which a process may have a way out is
//! only possible.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use super::graph::Graph;
use super::printable::{PATH_LENGTH, printable};
use super::proc::{descriptors, file, survey};
use super::{FileId, Holder, Kind, LockedFile, Process, Snapshot, certain};
use crate::Mode;

/// Processes that wait for one another in a cycle: each of them needs another one to continue
/// first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Deadlock {
    /// The waits of the cycle. Each waiter waits for the waiter of the next step, and the last one
    /// for the first.
    pub steps: Vec<Step>,
    /// False if one of the processes may have a way out: another thread, a time limit, a process
    /// that has inherited its lock, or another child for which it waits.
    pub certain: bool,
}

/// One wait in a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Step {
    /// The waiting thread, if it belongs to this process and is known.
    pub thread: Option<u32>,
    /// The waiting process.
    pub waiter: Process,
    /// The file on which the waiter requests a lock.
    pub file_id: FileId,
    /// The path of that file, if it is known.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::inspect::serialize::path")
    )]
    pub path: Option<PathBuf>,
    /// The kind of the requested lock.
    pub kind: Kind,
    /// The mode of the requested lock.
    pub mode: Mode,
    /// The process that holds the lock in the way: the next waiter, or a process that waits for the
    /// end of the next waiter.
    pub holder: Process,
}

impl Snapshot {
    /// The cycles of processes that wait for one another.
    ///
    /// Looks at the threads, the time limits and the ancestors of the processes that hold a lock
    /// and wait for another one. If there may be a cycle, also looks at all processes, for one that
    /// has inherited a lock of the cycle and may release it.
    pub fn deadlocks(&self) -> Vec<Deadlock> {
        let mut covered = HashSet::new();
        if Graph::of_possible(self, None)
            .cycles(&mut covered)
            .is_empty()
        {
            return Vec::new();
        }
        covered.clear();
        let heirs = Heirs::of_contended(self);
        let mut found = Graph::of_certain(&heirs, None, &[]).cycles(&mut covered);
        found.extend(Graph::of_possible(&heirs.snapshot, None).cycles(&mut covered));
        found
    }
}

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

/// The waits of this process. The library knows more about them than /proc shows.
pub(crate) struct Ours {
    pub(crate) process: Process,
    /// Whether one thread does everything that the process does.
    pub(crate) alone: bool,
    /// The waits that only the lock ends, at most one for each thread.
    pub(crate) waits: Vec<OurWait>,
    /// By descriptor: the waits of the threads that hold its lock by a guard which cannot leave its
    /// thread.
    pub(crate) keeps: HashMap<u32, Vec<usize>>,
}

/// A wait of a thread of this process.
pub(crate) struct OurWait {
    pub(crate) thread: u32,
    pub(crate) file_id: FileId,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) descriptor: Option<u32>,
    /// If the thread waits for other threads at the gate: the waits of the threads that must leave
    /// first.
    pub(crate) at_gate: Option<Vec<usize>>,
}

/// The process or ancestor because of which a request of process `pid` can never succeed: it holds
/// a lock that excludes the request, and all holders of that lock are the process itself or are
/// [bound](super::bound_ancestors) to wait for its end. `None` if there is no such holder.
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
        let locks = super::locks_of(**pid).unwrap_or_default();
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

/// `pid 3 (make) waits for b.lock, held by pid 4 (make), which waits for a.lock, held by pid 3`
impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            if let Some(thread) = step.thread {
                let then = if number == 0 {
                    ""
                } else {
                    ", which waits for "
                };
                write!(f, "{then}thread {thread} of {}", step.waiter)?;
            } else if number == 0 {
                write!(f, "{}", step.waiter)?;
            } else {
                let before = &self.steps[number - 1].holder;
                if before.pid != step.waiter.pid {
                    write!(f, ", which waits for the end of {}", step.waiter)?;
                }
                f.write_str(", which")?;
            }
            f.write_str(" waits for ")?;
            match &step.path {
                Some(path) => write!(f, "{:.PATH_LENGTH$}", printable(path))?,
                None => write!(f, "the file {}", step.file_id)?,
            }
            f.write_str(", held by ")?;
            if number + 1 == self.steps.len() && step.holder.pid == self.steps[0].waiter.pid {
                write!(f, "pid {}", step.holder.pid)?;
            } else {
                write!(f, "{}", step.holder)?;
            }
        }
        if let (Some(first), Some(last)) = (self.steps.first(), self.steps.last())
            && last.holder.pid != first.waiter.pid
        {
            write!(f, ", which waits for the end of pid {}", first.waiter.pid)?;
        }
        Ok(())
    }
}
