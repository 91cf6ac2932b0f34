//! The graph of the waiting requests of a snapshot, and which of them are stuck.
//!
//! A request waits for every lock that excludes it. A lock stays until one of its holders releases
//! it, or until *all* holders have ended. So a request is stuck if all holders of one of those
//! locks are stuck. A process is stuck if its request is stuck, or if it waits for the end of such
//! a process. The graph begins with all requests stuck, and frees those with a way out until there
//! are no more of them. The remaining requests can never succeed.

mod cycles;
mod request;

use std::collections::{HashMap, HashSet};

use self::request::WaitingRequest;
use crate::bytes::Range;
use crate::inspect::certain;
use crate::inspect::deadlock::Ours;
use crate::inspect::heirs::Heirs;
use crate::inspect::proc::ancestors;
use crate::inspect::proc::process::Process;
use crate::inspect::snapshot::{Holder, Lock, LockedFile, Snapshot};

/// The requests of a snapshot that may be part of a cycle. The requests of this process come first;
/// their positions are those in [`Ours::waits`].
pub(crate) struct Graph<'s> {
    waits: Vec<WaitingRequest<'s>>,
    /// By holder (its pid): the requests that keep it from releasing its locks.
    waits_by_holder: HashMap<u32, Vec<usize>>,
    stuck: Vec<bool>,
    /// The other processes with a thread that waits for no lock. That thread may hold the locks of
    /// the process, so other threads that wait for these locks are a normal queue.
    with_a_free_thread: HashSet<u32>,
    ours: Option<&'s Ours>,
    /// Whether the library knows which processes may have inherited locks from this process.
    our_heirs_are_known: bool,
    /// Whether all holders of a lock must be stuck, so that every cycle is certain. In a graph of
    /// possible cycles one stuck holder is enough.
    certain: bool,
}

/// A lock in the way of a request: its holders, each with the requests that keep it from releasing
/// the lock.
type Obstacle<'g, 's> = Vec<(&'s Process, &'g [usize])>;

impl<'s> Graph<'s> {
    /// Assumes that no process has a way out other than those that the lock table shows.
    pub(crate) fn of_possible(snapshot: &'s Snapshot, ours: Option<&'s Ours>) -> Graph<'s> {
        let holders = holders_of_contended(snapshot);
        let mut ancestors = WaitingAncestors::default();
        let mut graph = Graph::new(ours, false);
        graph.add_ours(&snapshot.files, &holders);
        graph.add_others(snapshot, &holders, |process| {
            Some(ancestors.waiting(process))
        });
        graph.find_free_threads();
        graph.free_waits_with_a_way_out();
        graph
    }

    /// Contains only what is certain: no process of a cycle has a way out. Looks only at the
    /// processes on which it may depend whether the requests `numbers` of this process are stuck;
    /// without `ours`, at those of all requests.
    pub(crate) fn of_certain(
        heirs: &'s Heirs,
        ours: Option<&'s Ours>,
        numbers: &[usize],
    ) -> Graph<'s> {
        let possible = Graph::of_possible(&heirs.snapshot, ours);
        let starts = match ours {
            Some(_) => numbers.to_vec(),
            None => (0..possible.waits.len()).collect(),
        };
        let depends = possible.reached_from(starts).into_iter();
        let candidates: HashSet<u32> = depends
            .filter(|wait| possible.stuck[*wait])
            .map(|wait| possible.waits[wait].process.pid)
            .collect();
        let mut holders = holders_of_contended(&heirs.snapshot);
        holders.retain(|holder| !heirs.may_be_unknown_of(*holder));
        let timekeepers = certain::timekeepers(std::process::id());
        let mut known = HashMap::new();
        let mut bound = |process: &Process| {
            let ancestors = known.entry(process.pid).or_insert_with(|| {
                let pid = process.pid;
                (candidates.contains(&pid)
                    && certain::has_one_thread(pid)
                    && certain::has_no_limit(pid)
                    && certain::timekeepers(pid) == timekeepers)
                    .then(|| certain::bound_ancestors(pid))
            });
            ancestors.clone()
        };
        let mut graph = Graph::new(ours, true);
        graph.add_ours(&heirs.snapshot.files, &holders);
        graph.add_others(&heirs.snapshot, &holders, &mut bound);
        graph.free_waits_with_a_way_out();
        graph
    }

    /// Contains only the threads of this process that wait for one another. Reads nothing from
    /// /proc.
    pub(crate) fn of_threads(ours: &'s Ours) -> Graph<'s> {
        let mut graph = Graph::new(Some(ours), true);
        graph.add_ours(&[], &HashSet::new());
        graph.free_waits_with_a_way_out();
        graph
    }

    fn new(ours: Option<&'s Ours>, certain: bool) -> Graph<'s> {
        Graph {
            waits: Vec::new(),
            waits_by_holder: HashMap::new(),
            stuck: Vec::new(),
            with_a_free_thread: HashSet::new(),
            ours,
            our_heirs_are_known: false,
            certain,
        }
    }

    fn add_ours(&mut self, files: &'s [LockedFile], holders: &HashSet<u32>) {
        let Some(ours) = self.ours else {
            return;
        };
        let us = ours.process.pid;
        self.our_heirs_are_known = holders.contains(&us);
        // Another thread may end the process.
        let ancestors = match ours.alone {
            true if holders.is_empty() => Vec::new(),
            true if self.certain => certain::bound_ancestors(us),
            true => ancestors::waiting_ancestors(us),
            false => Vec::new(),
        };
        for wait in &ours.waits {
            let file = files.iter().find(|file| file.file_id == wait.file_id);
            self.add(
                WaitingRequest {
                    process: &ours.process,
                    thread: Some(wait.thread),
                    file_id: wait.file_id,
                    path: Some(&wait.path),
                    kind: wait.kind,
                    mode: wait.mode,
                    range: Range::WHOLE,
                    descriptor: wait.descriptor,
                    locks: file.map_or(&[], |file| &file.locks),
                    at_gate: wait.at_gate.as_deref(),
                    ancestors: ancestors.clone(),
                },
                holders,
            );
        }
    }

    /// Adds the requests of other processes. `ancestors` returns the ancestors that wait for the
    /// end of a process, or `None` if the process has a way out.
    fn add_others(
        &mut self,
        snapshot: &'s Snapshot,
        holders: &HashSet<u32>,
        mut ancestors: impl FnMut(&Process) -> Option<Vec<u32>>,
    ) {
        let us = self.ours.map(|ours| ours.process.pid);
        for file in &snapshot.files {
            for request in &file.waiters {
                let Some(process) = &request.process else {
                    continue;
                };
                if us == Some(process.pid) {
                    continue;
                }
                let Some(ancestors) = ancestors(process) else {
                    continue;
                };
                let is_part = |pid: &u32| holders.contains(pid);
                if is_part(&process.pid) || ancestors.iter().any(is_part) {
                    self.add(
                        WaitingRequest::of_other(file, request, process, ancestors),
                        holders,
                    );
                }
            }
        }
    }

    fn add(&mut self, wait: WaitingRequest<'s>, holders: &HashSet<u32>) {
        let number = self.waits.len();
        let kept = wait.ancestors.iter().chain([&wait.process.pid]);
        for holder in kept.filter(|pid| holders.contains(pid)) {
            self.waits_by_holder
                .entry(*holder)
                .or_default()
                .push(number);
        }
        self.waits.push(wait);
        self.stuck.push(true);
    }

    /// Looks at the threads of the other processes that hold a lock and wait for one.
    fn find_free_threads(&mut self) {
        let us = self.ours.map(|ours| ours.process.pid);
        for holder in self.waits_by_holder.keys().filter(|pid| us != Some(**pid)) {
            let waits = self.waits.iter();
            let waiting = waits.filter(|wait| wait.process.pid == *holder).count();
            if waiting > 0 && certain::has_more_threads_than(*holder, waiting) {
                self.with_a_free_thread.insert(*holder);
            }
        }
    }

    fn free_waits_with_a_way_out(&mut self) {
        loop {
            let free: Vec<usize> = (0..self.waits.len())
                .filter(|wait| self.stuck[*wait] && self.obstacles(*wait).is_empty())
                .collect();
            if free.is_empty() {
                return;
            }
            for wait in free {
                self.stuck[wait] = false;
            }
        }
    }

    /// The locks (or the threads at the gate) in the way of a request that stay until a stuck
    /// request succeeds.
    fn obstacles<'g>(&'g self, number: usize) -> Vec<Obstacle<'g, 's>> {
        let wait = &self.waits[number];
        if let Some(threads) = wait.at_gate {
            let threads = threads.iter().filter(|other| self.stuck[**other]);
            let alone = |other: &'s usize| vec![(wait.process, std::slice::from_ref(other))];
            return threads.map(alone).collect();
        }
        let locks = wait.locks.iter().filter(|lock| wait.is_excluded_by(lock));
        let obstacle = |lock: &'s Lock| {
            let holders = lock.holders.iter();
            let kept = holders.map(|holder| (&holder.process, self.waits_of(holder)));
            kept.collect::<Obstacle<'g, 's>>()
        };
        let is_stuck = |(holder, requests): &(&Process, &[usize])| {
            let mut requests = requests.iter();
            requests.any(|after| self.is_kept_by(number, holder, *after))
        };
        let mut all: Vec<Obstacle<'g, 's>> = locks.map(obstacle).collect();
        all.retain(|holders| {
            let mut all = holders.iter();
            if self.certain {
                !holders.is_empty() && all.all(is_stuck)
            } else {
                all.any(is_stuck)
            }
        });
        all
    }

    /// Whether a request waits until the request `after` succeeds, which keeps the holder of a lock
    /// from releasing it.
    fn is_kept_by(&self, wait: usize, holder: &Process, after: usize) -> bool {
        let is_own = |number: usize| self.waits[number].process.pid == holder.pid;
        let is_own_queue = is_own(wait) && is_own(after);
        self.stuck[after] && !(is_own_queue && self.with_a_free_thread.contains(&holder.pid))
    }

    /// The requests that keep a holder from releasing its locks.
    fn waits_of(&self, holder: &Holder) -> &[usize] {
        let ours = self.ours;
        let waits = match ours.filter(|ours| ours.process.pid == holder.process.pid) {
            // Another thread may release any lock, except one that a waiting thread holds by a
            // guard.
            Some(ours) if !ours.alone => {
                let descriptor = holder.descriptor.filter(|_| self.our_heirs_are_known);
                descriptor.and_then(|number| ours.keeps.get(&number))
            }
            _ => self.waits_by_holder.get(&holder.process.pid),
        };
        waits.map_or(&[], Vec::as_slice)
    }
}

/// The holders of locks on files with waiting requests.
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

/// Looks up the ancestors that seem to wait, once for all children of a process.
#[derive(Default)]
struct WaitingAncestors {
    waiting: HashMap<u32, Vec<u32>>,
}

impl WaitingAncestors {
    fn waiting(&mut self, process: &Process) -> Vec<u32> {
        let Some(parent) = process.parent else {
            return Vec::new();
        };
        self.waiting
            .entry(parent)
            .or_insert_with(|| ancestors::waiting_ancestors(process.pid))
            .clone()
    }
}
