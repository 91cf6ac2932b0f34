//! The graph: processes and files are nodes, waits and holds are edges.

use std::collections::{HashMap, HashSet};

use holdlock::Mode;
use holdlock::inspect::{self, Deadlock, FileId, Kind, LockedFile, Process, Range, Snapshot};

/// Which process waits for which.
#[derive(Default)]
pub(super) struct Graph<'s> {
    pub(super) nodes: Vec<Node<'s>>,
    pub(super) edges: Vec<Edge>,
    pub(super) cycles: Vec<Cycle>,
}

/// A process or a file.
#[derive(Clone, Copy)]
pub(super) enum Node<'s> {
    Process(&'s Process),
    File(&'s LockedFile),
    /// A process that waits and cannot be seen.
    Unseen,
}

/// An edge from a waiter to the file or process for which it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) relation: Relation,
    /// The cycle of which the edge is a part.
    pub(super) cycle: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// From a process to the file for whose lock it waits.
    Waits { request: Request, turn: u32 },
    /// From a file to the process that holds a lock on it.
    Holds(Request),
    /// From a process to the one for whose end it waits.
    Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) range: Range,
    pub(super) slot: Option<u32>,
}

/// A deadlock.
pub(super) struct Cycle {
    pub(super) certain: bool,
    pub(super) steps: Vec<Step>,
}

/// One wait in a cycle, as numbers of nodes.
pub(super) struct Step {
    pub(super) waiter: usize,
    pub(super) file: usize,
    pub(super) holder: usize,
    pub(super) kind: Kind,
    pub(super) mode: Mode,
}

impl<'s> Graph<'s> {
    /// The graph of these files, with the deadlocks in it.
    pub(super) fn of(snapshot: &'s Snapshot, wanted: impl Fn(&LockedFile) -> bool) -> Graph<'s> {
        let mut builder = Builder::default();
        for file in snapshot.files.iter().filter(|file| wanted(file)) {
            builder.add(file);
        }
        builder.add_families();
        for deadlock in snapshot.deadlocks() {
            builder.mark(&deadlock);
        }
        builder.graph
    }

    /// Leaves out nodes that no chain of edges connects with one of these files.
    pub(super) fn keep_connected(&mut self, named: impl Fn(&LockedFile) -> bool) {
        let mut neighbours = vec![Vec::new(); self.nodes.len()];
        for edge in &self.edges {
            neighbours[edge.from].push(edge.to);
            neighbours[edge.to].push(edge.from);
        }
        let is_named = |node: &Node<'_>| matches!(node, Node::File(file) if named(file));
        let mut kept: Vec<bool> = self.nodes.iter().map(is_named).collect();
        let mut next: Vec<usize> = (0..kept.len()).filter(|node| kept[*node]).collect();
        while let Some(node) = next.pop() {
            for other in &neighbours[node] {
                if !std::mem::replace(&mut kept[*other], true) {
                    next.push(*other);
                }
            }
        }
        self.keep(&kept);
    }

    fn keep(&mut self, kept: &[bool]) {
        let mut numbers = Vec::with_capacity(kept.len());
        let mut number = 0;
        for keep in kept {
            numbers.push(number);
            number += usize::from(*keep);
        }
        let mut at = 0..;
        self.nodes.retain(|_| at.next().is_some_and(|at| kept[at]));
        // A cycle is connected: all of its nodes are kept, or all are left out.
        let mut at = 0;
        let mut cycles = Vec::new();
        self.cycles.retain_mut(|cycle| {
            let keep = cycle.steps.iter().all(|step| kept[step.waiter]);
            cycles.push(keep.then_some(at));
            at += usize::from(keep);
            for step in &mut cycle.steps {
                for node in [&mut step.waiter, &mut step.file, &mut step.holder] {
                    *node = numbers[*node];
                }
            }
            keep
        });
        self.edges.retain_mut(|edge| {
            let keep = kept[edge.from];
            (edge.from, edge.to) = (numbers[edge.from], numbers[edge.to]);
            edge.cycle = edge.cycle.and_then(|cycle| cycles[cycle]);
            keep
        });
    }

    /// The first cycle of which a node is a part.
    pub(super) fn cycle_of(&self, node: usize) -> Option<usize> {
        let is_in = |cycle: &Cycle| {
            let mut steps = cycle.steps.iter();
            steps.any(|step| [step.waiter, step.file, step.holder].contains(&node))
        };
        self.cycles.iter().position(is_in)
    }
}

#[derive(Default)]
struct Builder<'s> {
    graph: Graph<'s>,
    processes: HashMap<u32, usize>,
    files: HashMap<FileId, usize>,
    ends: HashSet<(usize, usize)>,
}

impl<'s> Builder<'s> {
    fn add(&mut self, file: &'s LockedFile) {
        let file_id = self.node(Node::File(file));
        self.files.insert(file.file_id, file_id);
        for lock in &file.locks {
            let request = Request {
                kind: lock.kind,
                mode: lock.mode,
                range: lock.range,
                slot: lock.slot,
            };
            for holder in &lock.holders {
                let holder = self.process(&holder.process);
                self.edge(file_id, holder, Relation::Holds(request));
            }
        }
        for waiter in &file.waiters {
            let from = match &waiter.process {
                Some(process) => self.process(process),
                None => self.node(Node::Unseen),
            };
            let request = Request {
                kind: waiter.kind,
                mode: waiter.mode,
                range: waiter.range,
                slot: None,
            };
            let turn = waiter.turn;
            self.edge(from, file_id, Relation::Waits { request, turn });
        }
    }

    /// A process that holds a lock and waits for the end of a child continues when the child has
    /// ended.
    fn add_families(&mut self) {
        let mut waiters = Vec::new();
        let mut holders = HashSet::new();
        for edge in &self.graph.edges {
            match (edge.relation, self.graph.nodes[edge.from]) {
                (Relation::Waits { .. }, Node::Process(process)) => {
                    waiters.push((edge.from, process.pid))
                }
                (Relation::Holds(_), _) => drop(holders.insert(edge.to)),
                _ => {}
            }
        }
        for (waiter, pid) in waiters {
            for ancestor in inspect::waiting_ancestors(pid) {
                if let Some(node) = self.processes.get(&ancestor).copied()
                    && holders.contains(&node)
                {
                    self.end(node, waiter);
                }
            }
        }
    }

    /// Adds that one process waits for the end of the other.
    fn end(&mut self, from: usize, to: usize) {
        if self.ends.insert((from, to)) {
            self.edge(from, to, Relation::Ends);
        }
    }

    fn node(&mut self, node: Node<'s>) -> usize {
        self.graph.nodes.push(node);
        self.graph.nodes.len() - 1
    }

    fn process(&mut self, process: &'s Process) -> usize {
        if let Some(known) = self.processes.get(&process.pid) {
            return *known;
        }
        let number = self.node(Node::Process(process));
        self.processes.insert(process.pid, number);
        number
    }

    fn edge(&mut self, from: usize, to: usize, relation: Relation) {
        self.graph.edges.push(Edge {
            from,
            to,
            relation,
            cycle: None,
        });
    }

    /// Marks the edges of a deadlock. Files without waiters are not in a cycle; all other files are
    /// part of the graph.
    fn mark(&mut self, deadlock: &Deadlock) {
        let number = self.graph.cycles.len();
        let mut steps = Vec::new();
        for step in &deadlock.steps {
            let known = |process: &Process| self.processes.get(&process.pid).copied();
            let (Some(waiter), Some(holder)) = (known(&step.waiter), known(&step.holder)) else {
                return;
            };
            let Some(file) = self.files.get(&step.file_id).copied() else {
                return;
            };
            let (kind, mode) = (step.kind, step.mode);
            steps.push(Step {
                waiter,
                file,
                holder,
                kind,
                mode,
            });
        }
        for (at, step) in steps.iter().enumerate() {
            self.mark_edges(step.waiter, step.file, number);
            self.mark_edges(step.file, step.holder, number);
            let next = steps[(at + 1) % steps.len()].waiter;
            if next != step.holder {
                self.end(step.holder, next);
                self.mark_edges(step.holder, next, number);
            }
        }
        let certain = deadlock.certain;
        self.graph.cycles.push(Cycle { certain, steps });
    }

    fn mark_edges(&mut self, from: usize, to: usize, cycle: usize) {
        for edge in &mut self.graph.edges {
            if (edge.from, edge.to) == (from, to) {
                edge.cycle.get_or_insert(cycle);
            }
        }
    }
}
