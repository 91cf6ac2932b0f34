//! Who waits for whom: processes that wait for one another in a cycle.
//!
//! `graph` finds them. A cycle is certain where nobody in it has a way out: no other thread, no
//! limit, nobody who has inherited a lock and may release it, no parent that may be waiting for
//! another child. One that exists only because such a way out is left out of account is possible.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::PathBuf;

use super::graph::Graph;
use super::printable::{PATH_LENGTH, printable};
use super::proc::{descriptors, file, survey};
use super::{Holder, Kind, LockedFile, Place, Process, Snapshot, certain};
use crate::Mode;

/// Processes that wait for one another in a cycle: none can go on before another one does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlock {
    /// Each is kept waiting by the next, and the last by the first.
    pub steps: Vec<Step>,
    /// False when one of them may have a way out: another thread, a limit of its wait, a process
    /// that has inherited its lock, or another child that it waits for.
    pub certain: bool,
}

/// One wait in a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The thread that waits, where it is one of this process and known.
    pub thread: Option<u32>,
    /// Who waits.
    pub waiter: Process,
    /// For a lock on which file.
    pub place: Place,
    /// The path of that file, as far as it is known.
    pub path: Option<PathBuf>,
    /// Which kind of lock is asked for.
    pub kind: Kind,
    /// In which mode.
    pub mode: Mode,
    /// Who keeps that lock: the next waiter, or the process for which that one runs and
    /// which waits for its end.
    pub holder: Process,
}

impl Snapshot {
    /// The cycles of processes that wait for one another. Looks at the threads, the limits and the
    /// ancestors of those that hold a lock and wait for another one; and where there seems to be
    /// a cycle, at all processes, for one that has inherited a lock and may release it.
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

/// A snapshot with everybody who keeps a lock for which somebody waits, also those who have
/// inherited it from a taker that still has it.
pub(crate) struct Heirs {
    pub(crate) snapshot: Snapshot,
    /// Holders of which it is not known to whom they have left their locks.
    unknown: HashSet<u32>,
}

impl Heirs {
    /// As if nobody had inherited anything.
    pub(crate) fn not_searched(snapshot: Snapshot) -> Heirs {
        Heirs {
            snapshot,
            unknown: HashSet::new(),
        }
    }

    /// Of the files for which somebody waits.
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
            // Without the link nobody could look for copies.
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

/// The waits of this process, about which more is known than /proc tells.
pub(crate) struct Ours {
    pub(crate) process: Process,
    /// Whether one thread does all that the process does.
    pub(crate) alone: bool,
    /// The waits which nothing ends but the lock, one of a thread.
    pub(crate) waits: Vec<OurWait>,
    /// By descriptor: the waits of those threads that have its lock by a guard which
    /// cannot leave them.
    pub(crate) keeps: HashMap<u32, Vec<usize>>,
}

/// A wait of a thread of this process.
pub(crate) struct OurWait {
    pub(crate) thread: u32,
    pub(crate) place: Place,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) descriptor: Option<u32>,
    /// For a thread that waits for other threads: the waits of those that have to go first.
    pub(crate) at_gate: Option<Vec<usize>>,
}

/// An ancestor, or the process itself, which keeps a lock that is in the way of such a request
/// of process `pid`, if the request can never succeed because of that: all who keep that lock are
/// [bound](super::bound_ancestors) to wait for the end of the process.
pub fn kept_by_bound(pid: u32, place: Place, kind: Kind, mode: Mode) -> Option<u32> {
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
        locks.any(|lock| lock.place == place && excludes(lock.kind, lock.mode))
    };
    let first = *bound.iter().find(keeps)?;
    let heirs = Heirs::of(&file::at_place(place).ok()?, |_| true);
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

/// `pid 3 (make) waits for b.lock, kept by pid 4 (make), which waits for a.lock, kept by pid 3`
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
                None => write!(f, "the file {}", step.place)?,
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
