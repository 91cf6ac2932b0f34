//! Who waits for whom: processes that wait for one another in a ring.
//!
//! A request waits for every lock that excludes it, and a lock stays until *all* who
//! keep it are gone or one of them releases it. So a request is stuck when one of those locks
//! is kept only by processes that are stuck; and a process is stuck when it waits for a stuck
//! request, or for the end of a process that does. We begin with all of them stuck and
//! free whoever has a way out, until nobody is left to free. What remains can never go on;
//! the rings in it are the deadlocks, the rest waits behind them.
//!
//! A process with several threads may release by one what it waits for with another: that
//! is a way out, as far as can be seen from outside. Rings which exist only without that way
//! are reported as possible.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::PathBuf;

use super::printable::{PATH_LENGTH, printable};
use super::{Kind, Lock, LockedFile, Place, Process, Snapshot, Waiter, family, survey};
use crate::Mode;

/// Processes that wait for one another in a ring: none can go on before another one does.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlock {
    /// Each is kept waiting by the next, and the last by the first.
    pub steps: Vec<Step>,
    /// False when it depends on a process with several threads, one of which may yet release
    /// what the others wait for.
    pub certain: bool,
}

/// One wait in a ring.
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
    /// The rings of processes that wait for one another. Looks at the threads and the
    /// ancestors of those that hold a lock and wait for another one; and where there seems to be
    /// a ring, at all processes, for one that has inherited a lock and may release it.
    pub fn deadlocks(&self) -> Vec<Deadlock> {
        let found = self.rings();
        if found.is_empty() {
            return found;
        }
        survey::with_all_holders(self).rings()
    }

    fn rings(&self) -> Vec<Deadlock> {
        let mut found = Vec::new();
        let mut covered = HashSet::new();
        for certain in [true, false] {
            let graph = Graph::new(self, certain, None);
            for start in 0..graph.waits.len() {
                if covered.contains(&graph.waits[start].key()) {
                    continue;
                }
                if let Some(ring) = graph.ring(start) {
                    covered.extend(ring.iter().map(|link| graph.waits[link.wait].key()));
                    found.push(Deadlock {
                        steps: graph.steps(&ring),
                        certain,
                    });
                }
            }
        }
        found
    }

    /// The ring which a wait of ours closes.
    pub(crate) fn deadlock_of(&self, ours: &Ours<'_>) -> Option<Deadlock> {
        let graph = Graph::new(self, true, Some(ours));
        let starts = 0..graph.waits.len();
        let mut mine = starts.filter(|at| {
            let wait = &graph.waits[*at];
            wait.pid == ours.pid && wait.file.place == ours.place
        });
        let ring = mine.find_map(|start| graph.ring(start))?;
        Some(Deadlock {
            steps: graph.steps(&ring),
            certain: true,
        })
    }
}

/// A wait of this process, about which more is known than /proc tells.
pub(crate) struct Ours<'o> {
    pub(crate) pid: u32,
    pub(crate) place: Place,
    /// Whether the lock on that file can be released only by the thread that waits.
    pub(crate) keeps: &'o dyn Fn(Place) -> bool,
}

/// Those waits of a snapshot that may be part of a ring.
struct Graph<'s> {
    waits: Vec<Wait<'s>>,
    /// By which waits a holder is kept from releasing.
    kept_by: HashMap<u32, Vec<usize>>,
    stuck: Vec<bool>,
    ours: Option<&'s Ours<'s>>,
}

struct Wait<'s> {
    pid: u32,
    process: &'s Process,
    file: &'s LockedFile,
    request: &'s Waiter,
}

/// A wait, and the holder that keeps it waiting.
#[derive(Clone, Copy)]
struct Link<'s> {
    wait: usize,
    holder: &'s Process,
}

impl<'s> Graph<'s> {
    fn new(snapshot: &'s Snapshot, strict: bool, ours: Option<&'s Ours<'s>>) -> Graph<'s> {
        let holders = holders_of_contended(snapshot);
        let mut family = Family::default();
        let mut threads: HashMap<u32, bool> = HashMap::new();
        let mut waits = Vec::new();
        let mut kept_by: HashMap<u32, Vec<usize>> = HashMap::new();
        for file in &snapshot.files {
            for request in &file.waiters {
                let Some(process) = &request.process else {
                    continue;
                };
                let pid = process.pid;
                let known = ours.is_some_and(|ours| ours.pid == pid);
                if known && ours.is_some_and(|ours| ours.place != file.place) {
                    // Another thread's.
                    continue;
                }
                let number = waits.len();
                let mut is_part = false;
                if holders.contains(&pid) {
                    let alone = known
                        || !strict
                        || *threads
                            .entry(pid)
                            .or_insert_with(|| family::has_one_thread(pid));
                    if alone {
                        kept_by.entry(pid).or_default().push(number);
                        is_part = true;
                    }
                }
                let waiting = family.waiting_ancestors(process);
                for ancestor in waiting.iter().filter(|pid| holders.contains(pid)) {
                    kept_by.entry(*ancestor).or_default().push(number);
                    is_part = true;
                }
                if is_part {
                    waits.push(Wait {
                        pid,
                        process,
                        file,
                        request,
                    });
                }
            }
        }
        let mut graph = Graph {
            stuck: vec![true; waits.len()],
            waits,
            kept_by,
            ours,
        };
        graph.free_who_has_a_way_out();
        graph
    }

    fn free_who_has_a_way_out(&mut self) {
        loop {
            let free: Vec<usize> = (0..self.waits.len())
                .filter(|wait| self.stuck[*wait] && self.obstacles(*wait).next().is_none())
                .collect();
            if free.is_empty() {
                return;
            }
            for wait in free {
                self.stuck[wait] = false;
            }
        }
    }

    /// The locks that a request waits for and that are kept only by who is stuck.
    fn obstacles(&self, wait: usize) -> impl Iterator<Item = &'s Lock> {
        let Wait {
            pid, file, request, ..
        } = self.waits[wait];
        file.locks.iter().filter(move |lock| {
            excludes(lock, request, pid)
                && !lock.holders.is_empty()
                && lock
                    .holders
                    .iter()
                    .all(|holder| self.is_stuck(file.place, holder.process.pid))
        })
    }

    fn is_stuck(&self, place: Place, holder: u32) -> bool {
        if let Some(ours) = self.ours
            && ours.pid == holder
            && !(ours.keeps)(place)
        {
            return false;
        }
        self.kept_by
            .get(&holder)
            .is_some_and(|waits| waits.iter().any(|wait| self.stuck[*wait]))
    }

    /// The shortest ring through this wait.
    fn ring(&self, start: usize) -> Option<Vec<Link<'s>>> {
        if !self.stuck[start] {
            return None;
        }
        let mut came: HashMap<usize, Link<'s>> = HashMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(wait) = next.pop_front() {
            let holders = self.obstacles(wait).flat_map(|lock| &lock.holders);
            for holder in holders {
                let link = Link {
                    wait,
                    holder: &holder.process,
                };
                for after in self.kept_by.get(&holder.process.pid).into_iter().flatten() {
                    if *after == start {
                        return Some(way(&came, link, start));
                    }
                    if self.stuck[*after] && !came.contains_key(after) {
                        came.insert(*after, link);
                        next.push_back(*after);
                    }
                }
            }
        }
        None
    }

    fn steps(&self, ring: &[Link<'s>]) -> Vec<Step> {
        let step = |link: &Link<'s>| {
            let wait = &self.waits[link.wait];
            Step {
                thread: None,
                waiter: wait.process.clone(),
                place: wait.file.place,
                path: wait.file.path.clone(),
                kind: wait.request.kind,
                mode: wait.request.mode,
                holder: link.holder.clone(),
            }
        };
        ring.iter().map(step).collect()
    }
}

impl Wait<'_> {
    fn key(&self) -> (u32, Place) {
        (self.pid, self.file.place)
    }
}

/// The links from the start to the last one, which leads back to it.
fn way<'s>(came: &HashMap<usize, Link<'s>>, last: Link<'s>, start: usize) -> Vec<Link<'s>> {
    let mut way = vec![last];
    let mut at = last.wait;
    while at != start {
        let link = came[&at];
        way.push(link);
        at = link.wait;
    }
    way.reverse();
    way
}

/// Whether a lock keeps a request of this process waiting.
fn excludes(lock: &Lock, request: &Waiter, pid: u32) -> bool {
    let shared = lock.mode == Mode::Shared && request.mode == Mode::Shared;
    // A lock of one's own does not exclude one, if it is the process's (POSIX) or the open file's.
    let own = lock.holders.iter().any(|holder| {
        holder.process.pid == pid
            && (lock.kind == Kind::Posix && request.kind == Kind::Posix
                || request.descriptor.is_some() && holder.descriptor == request.descriptor)
    });
    lock.kind.meets(request.kind) && lock.range.overlaps(request.range) && !shared && !own
}

/// Everybody who keeps a lock on a file for which somebody waits.
fn holders_of_contended(snapshot: &Snapshot) -> HashSet<u32> {
    let contended = snapshot
        .files
        .iter()
        .filter(|file| !file.waiters.is_empty());
    contended
        .flat_map(|file| &file.locks)
        .flat_map(|lock| &lock.holders)
        .map(|holder| holder.process.pid)
        .collect()
}

/// Ancestors that wait, looked up once for all children of one process.
#[derive(Default)]
struct Family {
    waiting: HashMap<u32, Vec<u32>>,
}

impl Family {
    fn waiting_ancestors(&mut self, process: &Process) -> &[u32] {
        let Some(parent) = process.parent else {
            return &[];
        };
        self.waiting
            .entry(parent)
            .or_insert_with(|| family::waiting_ancestors(process.pid))
    }
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
