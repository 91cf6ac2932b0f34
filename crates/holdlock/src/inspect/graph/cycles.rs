//! Searches the graph: for cycles, and for what a request depends on.

use std::collections::hash_map;
use std::collections::{HashMap, HashSet, VecDeque};

use super::Graph;
use crate::inspect::deadlock::{Deadlock, Step};
use crate::inspect::proc::file_id::FileId;
use crate::inspect::proc::process::Process;

/// An edge of the graph: a request, and a holder for which it waits.
#[derive(Clone, Copy)]
struct Edge<'s> {
    wait: usize,
    holder: &'s Process,
}

impl<'s> Graph<'s> {
    /// The cycles of the requests that are not part of a cycle in `covered` yet.
    pub(in crate::inspect) fn cycles(&self, covered: &mut HashSet<(u32, FileId)>) -> Vec<Deadlock> {
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
            let stuck = requests.filter(move |after| self.is_kept_by(wait, holder, **after));
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

    pub(super) fn reached_from(&self, starts: Vec<usize>) -> HashSet<usize> {
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
