//! The graph as a tree: below each process the locks it holds, below each lock its waiters.

use std::collections::HashSet;

use super::model::{Cycle, Graph, Node, Relation, Request};
use crate::show::{terminal, text};
use holdlock::inspect::Range;

/// What the terminal can show.
pub(super) struct Ink {
    pub(super) unicode: bool,
    pub(super) colour: bool,
    /// How many characters of a command line are shown on a terminal.
    pub(super) command: Option<usize>,
}

impl Ink {
    pub(super) fn of_terminal() -> Ink {
        Ink {
            unicode: terminal::has_unicode(),
            colour: terminal::has_colour(),
            // The rest of a line takes about this many characters.
            command: terminal::width().map(|width| width.saturating_sub(64).max(24)),
        }
    }

    fn alarm(&self, text: &str) -> String {
        terminal::painted(text, "1;31", self.colour)
    }

    /// The prefix of a line, and the prefix of the lines below it.
    fn branch(&self, is_last: bool) -> (&'static str, &'static str) {
        match (self.unicode, is_last) {
            (true, false) => ("├─ ", "│  "),
            (true, true) => ("└─ ", "   "),
            (false, false) => ("|- ", "|  "),
            (false, true) => ("`- ", "   "),
        }
    }
}

/// Deeper levels cannot be read.
const DEEPEST: usize = 60;

/// Deadlocks, then all the rest.
pub(super) fn draw(graph: &Graph<'_>, ink: &Ink) -> String {
    let mut text = String::new();
    for (number, cycle) in graph.cycles.iter().enumerate() {
        text += &deadlock(graph, cycle, number, ink);
        text.push('\n');
    }
    let mut tree = Tree {
        graph,
        ink,
        below: below(graph),
        holders: holders(graph),
        shown: vec![false; graph.nodes.len()],
        text,
    };
    for root in roots(graph, &tree.below) {
        if tree.has_news(root) {
            let line = tree.name(root);
            tree.node(root, &line, "", "", 0);
        }
    }
    tree.text
}

impl Ink {
    fn name(&self, graph: &Graph<'_>, node: usize) -> String {
        match graph.nodes[node] {
            Node::Process(process) => text::process_cut(process, self.command),
            Node::File(file) => text::file(file),
            Node::Unseen => "a process that cannot be seen".into(),
        }
    }
}

fn title(cycle: &Cycle, number: usize) -> String {
    let possible = if cycle.certain { "" } else { "possible " };
    format!("{possible}deadlock {}", number + 1)
}

fn deadlock(graph: &Graph<'_>, cycle: &Cycle, number: usize, ink: &Ink) -> String {
    let title = ink.alarm(&title(cycle, number));
    let fate = if cycle.certain {
        "none of these can make progress"
    } else {
        "none of these can make progress, unless one has a way out that cannot be seen: another \
         thread, a time limit, or a process that has inherited its lock"
    };
    let mut text = format!("{title}: {fate}\n");
    for (at, step) in cycle.steps.iter().enumerate() {
        let [waiter, file, holder] =
            [step.waiter, step.file, step.holder].map(|node| ink.name(graph, node));
        text += &format!("  {waiter} waits for {file}, held by {holder}\n");
        let next = cycle.steps[(at + 1) % cycle.steps.len()].waiter;
        if next != step.holder {
            let next = ink.name(graph, next);
            text += &format!("  {holder} waits for the end of {next}\n");
        }
    }
    text
}

/// The numbers of the edges that lead to a node; waiters are in their order.
fn below(graph: &Graph<'_>) -> Vec<Vec<usize>> {
    let mut below = vec![Vec::new(); graph.nodes.len()];
    for (number, edge) in graph.edges.iter().enumerate() {
        below[edge.to].push(number);
    }
    for edges in &mut below {
        edges.sort_by_key(|number| match graph.edges[*number].relation {
            Relation::Waits { turn, .. } => turn,
            Relation::Holds(_) | Relation::Ends => 0,
        });
    }
    below
}

fn holders(graph: &Graph<'_>) -> Vec<Vec<usize>> {
    let mut holders = vec![Vec::new(); graph.nodes.len()];
    for edge in &graph.edges {
        if matches!(edge.relation, Relation::Holds(_)) {
            holders[edge.from].push(edge.to);
        }
    }
    holders
}

/// The roots of the trees: first the processes that do not wait, then the members of cycles. All
/// other processes are below one of these, unless a wait between them cannot be seen.
fn roots(graph: &Graph<'_>, below: &[Vec<usize>]) -> Vec<usize> {
    let mut waits = vec![false; graph.nodes.len()];
    for edge in &graph.edges {
        waits[edge.from] = true;
    }
    let free = (0..graph.nodes.len()).filter(|node| !waits[*node]);
    let is_process = |node: &usize| !matches!(graph.nodes[*node], Node::File(_));
    let cycles = graph.cycles.iter().flat_map(|cycle| &cycle.steps);
    let cycles = cycles.map(|step| step.waiter);
    let others = (0..graph.nodes.len()).filter(|node| !below[*node].is_empty());
    free.chain(cycles)
        .chain(others.filter(is_process))
        .collect()
}

struct Tree<'g> {
    graph: &'g Graph<'g>,
    ink: &'g Ink,
    /// The edges that lead to a node: what is drawn below it.
    below: Vec<Vec<usize>>,
    /// The holders of a file's locks.
    holders: Vec<Vec<usize>>,
    shown: Vec<bool>,
    text: String,
}

impl Tree<'_> {
    /// The name, with a mark if the node is part of a cycle.
    fn name(&self, node: usize) -> String {
        let name = self.ink.name(self.graph, node);
        let is_file = matches!(self.graph.nodes[node], Node::File(_));
        match self.graph.cycle_of(node).filter(|_| !is_file) {
            Some(cycle) => {
                let title = title(&self.graph.cycles[cycle], cycle);
                format!("{name} {}", self.ink.alarm(&format!("[{title}]")))
            }
            None => name,
        }
    }

    /// False if everything below this node is already drawn: the node is named there.
    fn has_news(&self, root: usize) -> bool {
        let mut below = self.below[root].iter();
        let is_new = |number: &usize| !self.shown[self.graph.edges[*number].from];
        !self.shown[root] && (self.below[root].is_empty() || below.any(is_new))
    }

    /// The other holders of a file's locks.
    fn together(&self, file: usize, with: usize) -> String {
        let others = self.holders[file].iter().filter(|node| **node != with);
        let pids = others.filter_map(|node| match self.graph.nodes[*node] {
            Node::Process(process) => Some(process.pid),
            _ => None,
        });
        let mut seen = HashSet::new();
        let pids: Vec<u32> = pids.filter(|pid| seen.insert(*pid)).collect();
        match pids.len() {
            0 => String::new(),
            1..=8 => {
                let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
                format!(", together with pid {}", pids.join(", "))
            }
            number => format!(", together with {number} others"),
        }
    }

    fn node(&mut self, node: usize, line: &str, before: &str, indent: &str, depth: usize) {
        let again = std::mem::replace(&mut self.shown[node], true);
        let edges = if again {
            Vec::new()
        } else {
            self.below[node].clone()
        };
        let hint = if again && !self.below[node].is_empty() {
            ", see above"
        } else if depth == DEEPEST && !edges.is_empty() {
            ", and more"
        } else {
            ""
        };
        self.text += &format!("{before}{line}{hint}\n");
        if depth == DEEPEST {
            return;
        }
        let last = edges.len().saturating_sub(1);
        for (at, number) in edges.into_iter().enumerate() {
            let edge = &self.graph.edges[number];
            let (from, relation) = (edge.from, edge.relation);
            let name = self.name(from);
            let line = match relation {
                Relation::Holds(request) => {
                    let others = self.together(from, node);
                    format!("holds {name}, {}{others}", described(request))
                }
                Relation::Waits { request, turn } => {
                    format!("waits {turn}: {name}, {}", described(request))
                }
                Relation::Ends => format!("{name} waits for its end"),
            };
            let (branch, rest) = self.ink.branch(at == last);
            let (before, below) = (format!("{indent}{branch}"), format!("{indent}{rest}"));
            self.node(from, &line, &before, &below, depth + 1);
        }
    }
}

/// `exclusive flock`, `shared posix of bytes 10-19`
pub(super) fn described(request: Request) -> String {
    let Request {
        kind,
        mode,
        range,
        slot,
    } = request;
    if let Some(slot) = slot {
        return format!("slot {slot}");
    }
    match range {
        Range::SLOTS => "any slot".to_owned(),
        Range::WHOLE => format!("{mode} {kind}"),
        range => format!("{mode} {kind} of bytes {}", text::range(range)),
    }
}
