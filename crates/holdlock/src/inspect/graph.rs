//! The graph of the waiting requests of a snapshot, and which of them are stuck.
//!
//! A request waits for every lock that excludes it. A lock stays until one of its holders releases
//! it, or until *all* holders have ended. So a request is stuck if all holders of one of those
//! locks are stuck. A process is stuck if its request is stuck, or if it waits for the end of such
//! a process. The graph begins with all requests stuck, and frees those with a way out until there
//! are no more of them. The remaining requests can never succeed.

use std::collections::hash_map;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;

use super::certain;
use super::deadlock::{Deadlock, Ours, Step};
use super::heirs::Heirs;
use super::proc::ancestors;
use super::proc::file_id::FileId;
use super::proc::process::Process;
use super::proc::table::Kind;
use super::snapshot::{Holder, Lock, LockedFile, Snapshot, Waiter};
use crate::Mode;
use crate::bytes::Range;

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

struct WaitingRequest<'s> {
    process: &'s Process,
    thread: Option<u32>,
    file_id: FileId,
    path: Option<&'s PathBuf>,
    kind: Kind,
    mode: Mode,
    range: Range,
    descriptor: Option<u32>,
    locks: &'s [Lock],
    /// If the thread waits for other threads at the gate: the requests of the threads that must
    /// leave first.
    at_gate: Option<&'s [usize]>,
    /// The ancestors that wait for the end of the process.
    ancestors: Vec<u32>,
}

/// A lock in the way of a request: its holders, each with the requests that keep it from releasing
/// the lock.
type Obstacle<'g, 's> = Vec<(&'s Process, &'g [usize])>;

/// An edge of the graph: a request, and a holder for which it waits.
#[derive(Clone, Copy)]
struct Edge<'s> {
    wait: usize,
    holder: &'s Process,
}

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
        let is_stuck = |(_, requests): &(&Process, &[usize])| {
            let mut requests = requests.iter();
            requests.any(|after| self.is_kept_by(number, *after))
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

    /// Whether a request waits until the request `after` succeeds, if `after` keeps the holder of a
    /// lock in its way.
    fn is_kept_by(&self, wait: usize, after: usize) -> bool {
        let [waiter, holder] = [wait, after].map(|number| self.waits[number].process.pid);
        let is_own_queue = waiter == holder && self.with_a_free_thread.contains(&holder);
        self.stuck[after] && !is_own_queue
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

    /// The cycles of the requests that are not part of a cycle in `covered` yet.
    pub(super) fn cycles(&self, covered: &mut HashSet<(u32, FileId)>) -> Vec<Deadlock> {
        let key = |wait: usize| (self.waits[wait].process.pid, self.waits[wait].file_id);
        let mut found = Vec::new();
        for start in 0..self.waits.len() {
            if !covered.contains(&key(start))
                && let Some(cycle) = self.shortest_cycle(start)
            {
                covered.extend(cycle.iter().map(|edge| key(edge.wait)));
                found.push(self.deadlock(&cycle));
            }
        }
        found
    }

    /// The shortest cycle through this request.
    pub(crate) fn cycle(&self, start: usize) -> Option<Deadlock> {
        Some(self.deadlock(&self.shortest_cycle(start)?))
    }

    fn shortest_cycle(&self, start: usize) -> Option<Vec<Edge<'s>>> {
        let mut reached_by: HashMap<usize, Edge<'s>> = HashMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(wait) = next.pop_front() {
            for (edge, after) in self.edges_from(wait) {
                if after == start {
                    return Some(path_to(&reached_by, edge, start));
                }
                if let hash_map::Entry::Vacant(file_id) = reached_by.entry(after) {
                    file_id.insert(edge);
                    next.push_back(after);
                }
            }
        }
        None
    }

    /// The edges from a request to the stuck requests for which it waits.
    fn edges_from(&self, wait: usize) -> Vec<(Edge<'s>, usize)> {
        if !self.stuck[wait] {
            return Vec::new();
        }
        let kept = self.obstacles(wait).into_iter().flatten();
        let edges = kept.flat_map(|(holder, requests)| {
            let requests = requests.iter();
            let stuck = requests.filter(move |after| self.is_kept_by(wait, **after));
            stuck.map(move |after| (Edge { wait, holder }, *after))
        });
        edges.collect()
    }

    /// The requests on which it depends whether the request `start` is stuck: the numbers of those
    /// of this process, and the pids of the other processes with their ancestors.
    pub(crate) fn depends_on(&self, start: usize) -> (Vec<usize>, HashSet<u32>) {
        let found = self.reached_from(vec![start]);
        let us = self.ours.map(|ours| ours.process.pid);
        let (ours, others): (Vec<usize>, Vec<usize>) = found
            .into_iter()
            .partition(|wait| Some(self.waits[*wait].process.pid) == us);
        let pids = others.into_iter().flat_map(|wait| {
            let wait = &self.waits[wait];
            wait.ancestors.iter().copied().chain([wait.process.pid])
        });
        (ours, pids.collect())
    }

    fn reached_from(&self, starts: Vec<usize>) -> HashSet<usize> {
        let mut found: HashSet<usize> = starts.iter().copied().collect();
        let mut next = starts;
        while let Some(wait) = next.pop() {
            let after = self.edges_from(wait).into_iter().map(|(_, after)| after);
            next.extend(after.filter(|after| found.insert(*after)));
        }
        found
    }

    fn deadlock(&self, cycle: &[Edge<'s>]) -> Deadlock {
        let step = |edge: &Edge<'s>| {
            let wait = &self.waits[edge.wait];
            Step {
                thread: wait.thread,
                waiter: wait.process.clone(),
                file_id: wait.file_id,
                path: wait.path.cloned(),
                kind: wait.kind,
                mode: wait.mode,
                holder: edge.holder.clone(),
            }
        };
        Deadlock {
            steps: cycle.iter().map(step).collect(),
            certain: self.certain,
        }
    }
}

impl<'s> WaitingRequest<'s> {
    fn of_other(
        file: &'s LockedFile,
        request: &'s Waiter,
        process: &'s Process,
        ancestors: Vec<u32>,
    ) -> WaitingRequest<'s> {
        WaitingRequest {
            process,
            thread: None,
            file_id: file.file_id,
            path: file.path.as_ref(),
            kind: request.kind,
            mode: request.mode,
            range: request.range,
            descriptor: request.descriptor,
            locks: &file.locks,
            at_gate: None,
            ancestors,
        }
    }

    /// Whether the lock makes this request wait.
    fn is_excluded_by(&self, lock: &Lock) -> bool {
        let shared = lock.mode == Mode::Shared && self.mode == Mode::Shared;
        // A process does not wait for its own POSIX lock, nor an open file for its own flock or OFD
        // lock.
        let own = lock.holders.iter().any(|holder| {
            holder.process.pid == self.process.pid
                && (lock.kind == Kind::Posix && self.kind == Kind::Posix
                    || self.descriptor.is_some() && holder.descriptor == self.descriptor)
        });
        lock.kind.meets(self.kind) && lock.range.overlaps(self.range) && !shared && !own
    }
}

/// The edges from the start to the last one, which leads back to the start.
fn path_to<'s>(
    reached_by: &HashMap<usize, Edge<'s>>,
    last: Edge<'s>,
    start: usize,
) -> Vec<Edge<'s>> {
    let mut path = vec![last];
    let mut at = last.wait;
    while at != start {
        let edge = reached_by[&at];
        path.push(edge);
        at = edge.wait;
    }
    path.reverse();
    path
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
