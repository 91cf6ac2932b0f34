//! The waits of a snapshot that may be part of a cycle, and which of them are stuck.
//!
//! A request waits for every lock that excludes it, and a lock stays until *all* who
//! keep it are gone or one of them releases it. So a request is stuck when one of those locks
//! is kept only by processes that are stuck; and a process is stuck when it waits for a stuck
//! request, or for the end of a process that does. We begin with all of them stuck and
//! free whoever has a way out, until nobody is left to free. What remains can never go on.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::path::PathBuf;

use super::deadlock::{Deadlock, Heirs, Ours, Step};
use super::proc::ancestors;
use super::{Holder, Kind, Lock, LockedFile, Place, Process, Range, Snapshot, Waiter, certain};
use crate::Mode;

/// Those waits of a snapshot that may be part of a cycle. Ours come first, by their numbers.
pub(crate) struct Graph<'s> {
    waits: Vec<Wait<'s>>,
    /// By which waits a holder is kept from releasing.
    kept_by: HashMap<u32, Vec<usize>>,
    stuck: Vec<bool>,
    ours: Option<&'s Ours>,
    /// Whether it is known to whom our process may have left its locks.
    we_are_known: bool,
    /// Where it is only to be seen what is possible, one holder that is stuck is enough.
    certain: bool,
}

struct Wait<'s> {
    process: &'s Process,
    thread: Option<u32>,
    place: Place,
    path: Option<&'s PathBuf>,
    kind: Kind,
    mode: Mode,
    range: Range,
    descriptor: Option<u32>,
    locks: &'s [Lock],
    /// For a thread that waits for other threads: the waits of those inside.
    at_gate: Option<&'s [usize]>,
    /// The ancestors that wait for the end of the process.
    ancestors: Vec<u32>,
}

/// A lock that is in the way of a request: who keeps it, and by which waits each of them is kept.
type Obstacle<'g, 's> = Vec<(&'s Process, &'g [usize])>;

/// A wait, and the holder that keeps it waiting.
#[derive(Clone, Copy)]
struct Link<'s> {
    wait: usize,
    holder: &'s Process,
}

impl<'s> Graph<'s> {
    /// What would be so if nobody had a way out that is not seen in the table.
    pub(crate) fn of_possible(snapshot: &'s Snapshot, ours: Option<&'s Ours>) -> Graph<'s> {
        let holders = holders_of_contended(snapshot);
        let mut family = Family::default();
        let mut graph = Graph::new(ours, false);
        graph.add_ours(&snapshot.files, &holders);
        graph.add_others(snapshot, &holders, |process| Some(family.waiting(process)));
        graph.free_who_has_a_way_out();
        graph
    }

    /// What is so for certain: nobody in it has a way out. Looks only at those of whom it can depend
    /// whether these waits of ours are stuck, or else at all.
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
        graph.free_who_has_a_way_out();
        graph
    }

    /// Only the threads of this process that wait for one another, which needs no look elsewhere.
    pub(crate) fn of_threads(ours: &'s Ours) -> Graph<'s> {
        let mut graph = Graph::new(Some(ours), true);
        graph.add_ours(&[], &HashSet::new());
        graph.free_who_has_a_way_out();
        graph
    }

    fn new(ours: Option<&'s Ours>, certain: bool) -> Graph<'s> {
        Graph {
            waits: Vec::new(),
            kept_by: HashMap::new(),
            stuck: Vec::new(),
            ours,
            we_are_known: false,
            certain,
        }
    }

    fn add_ours(&mut self, files: &'s [LockedFile], holders: &HashSet<u32>) {
        let Some(ours) = self.ours else {
            return;
        };
        let us = ours.process.pid;
        self.we_are_known = holders.contains(&us);
        // Another thread may end the process.
        let ancestors = match ours.alone {
            true if holders.is_empty() => Vec::new(),
            true if self.certain => certain::bound_ancestors(us),
            true => ancestors::waiting_ancestors(us),
            false => Vec::new(),
        };
        for wait in &ours.waits {
            let file = files.iter().find(|file| file.place == wait.place);
            self.add(
                Wait {
                    process: &ours.process,
                    thread: Some(wait.thread),
                    place: wait.place,
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

    /// Adds the waits of others, as far as `ancestors` lets them be part of it.
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
                    self.add(Wait::of_other(file, request, process, ancestors), holders);
                }
            }
        }
    }

    fn add(&mut self, wait: Wait<'s>, holders: &HashSet<u32>) {
        let number = self.waits.len();
        let kept = wait.ancestors.iter().chain([&wait.process.pid]);
        for holder in kept.filter(|pid| holders.contains(pid)) {
            self.kept_by.entry(*holder).or_default().push(number);
        }
        self.waits.push(wait);
        self.stuck.push(true);
    }

    fn free_who_has_a_way_out(&mut self) {
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

    /// What is in the way of a request and stays there until a wait ends that is stuck.
    fn obstacles<'g>(&'g self, number: usize) -> Vec<Obstacle<'g, 's>> {
        let wait = &self.waits[number];
        if let Some(threads) = wait.at_gate {
            let threads = threads.iter().filter(|other| self.stuck[**other]);
            let alone = |other: &'s usize| vec![(wait.process, std::slice::from_ref(other))];
            return threads.map(alone).collect();
        }
        let locks = wait.locks.iter().filter(|lock| wait.is_kept_by(lock));
        let obstacle = |lock: &'s Lock| {
            let holders = lock.holders.iter();
            let kept = holders.map(|holder| (&holder.process, self.keepers(holder)));
            kept.collect::<Obstacle<'g, 's>>()
        };
        let is_stuck = |(_, keepers): &(&Process, &[usize])| {
            let mut keepers = keepers.iter();
            keepers.any(|wait| self.stuck[*wait])
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

    /// The waits by which a holder is kept from releasing a lock.
    fn keepers(&self, holder: &Holder) -> &[usize] {
        let ours = self.ours;
        let waits = match ours.filter(|ours| ours.process.pid == holder.process.pid) {
            // Another thread may release what no thread that waits has by a guard.
            Some(ours) if !ours.alone => {
                let descriptor = holder.descriptor.filter(|_| self.we_are_known);
                descriptor.and_then(|number| ours.keeps.get(&number))
            }
            _ => self.kept_by.get(&holder.process.pid),
        };
        waits.map_or(&[], Vec::as_slice)
    }

    /// The cycles of those waits that are in none yet.
    pub(super) fn cycles(&self, covered: &mut HashSet<(u32, Place)>) -> Vec<Deadlock> {
        let key = |wait: usize| (self.waits[wait].process.pid, self.waits[wait].place);
        let mut found = Vec::new();
        for start in 0..self.waits.len() {
            if !covered.contains(&key(start))
                && let Some(cycle) = self.links(start)
            {
                covered.extend(cycle.iter().map(|link| key(link.wait)));
                found.push(self.deadlock(&cycle));
            }
        }
        found
    }

    /// The shortest cycle through this wait.
    pub(crate) fn cycle(&self, start: usize) -> Option<Deadlock> {
        Some(self.deadlock(&self.links(start)?))
    }

    fn links(&self, start: usize) -> Option<Vec<Link<'s>>> {
        let mut came: HashMap<usize, Link<'s>> = HashMap::new();
        let mut next = VecDeque::from([start]);
        while let Some(wait) = next.pop_front() {
            for (link, after) in self.links_from(wait) {
                if after == start {
                    return Some(way(&came, link, start));
                }
                if let Entry::Vacant(place) = came.entry(after) {
                    place.insert(link);
                    next.push_back(after);
                }
            }
        }
        None
    }

    /// From a wait to those for which it waits.
    fn links_from(&self, wait: usize) -> Vec<(Link<'s>, usize)> {
        if !self.stuck[wait] {
            return Vec::new();
        }
        let kept = self.obstacles(wait).into_iter().flatten();
        let links = kept.flat_map(|(holder, keepers)| {
            let stuck = keepers.iter().filter(|after| self.stuck[**after]);
            stuck.map(move |after| (Link { wait, holder }, *after))
        });
        links.collect()
    }

    /// All the waits on which it depends whether this one is stuck: the numbers of those of
    /// ours, and the processes of the others.
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
            let after = self.links_from(wait).into_iter().map(|(_, after)| after);
            next.extend(after.filter(|after| found.insert(*after)));
        }
        found
    }

    fn deadlock(&self, cycle: &[Link<'s>]) -> Deadlock {
        let step = |link: &Link<'s>| {
            let wait = &self.waits[link.wait];
            Step {
                thread: wait.thread,
                waiter: wait.process.clone(),
                place: wait.place,
                path: wait.path.cloned(),
                kind: wait.kind,
                mode: wait.mode,
                holder: link.holder.clone(),
            }
        };
        Deadlock {
            steps: cycle.iter().map(step).collect(),
            certain: self.certain,
        }
    }
}

impl<'s> Wait<'s> {
    fn of_other(
        file: &'s LockedFile,
        request: &'s Waiter,
        process: &'s Process,
        ancestors: Vec<u32>,
    ) -> Wait<'s> {
        Wait {
            process,
            thread: None,
            place: file.place,
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

    /// Whether a lock keeps this request waiting.
    fn is_kept_by(&self, lock: &Lock) -> bool {
        let shared = lock.mode == Mode::Shared && self.mode == Mode::Shared;
        // A lock of one's own does not, if it is the process's (POSIX) or the open file's.
        let own = lock.holders.iter().any(|holder| {
            holder.process.pid == self.process.pid
                && (lock.kind == Kind::Posix && self.kind == Kind::Posix
                    || self.descriptor.is_some() && holder.descriptor == self.descriptor)
        });
        lock.kind.meets(self.kind) && lock.range.overlaps(self.range) && !shared && !own
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

/// Ancestors that seem to wait, looked up once for all children of one process.
#[derive(Default)]
struct Family {
    waiting: HashMap<u32, Vec<u32>>,
}

impl Family {
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
