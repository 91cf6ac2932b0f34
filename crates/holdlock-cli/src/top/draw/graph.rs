//! The view that shows which process waits for which: first the cycles, then each queue and the
//! queues behind it.

use std::collections::{HashMap, HashSet};

use holdlock::inspect::FileId;
use ratatui_core::style::Style;

use super::{Row, Theme, plain, waited};
use crate::show::job::brief;
use crate::top::model::{Cycle, File, Host, Who};
use crate::top::sort::{Choice, chosen};

/// A process, of whatever host.
type Id<'h> = (u32, Option<&'h str>);

/// Of the files that the list shows; a chain leads to others.
pub(super) fn lines(host: &Host, choice: &Choice, theme: Theme) -> Vec<Row> {
    let mut lines = Vec::new();
    let shown = chosen(host, choice);
    let is_shown = |cycle: &&Cycle| {
        let mut file_ids = cycle.steps.iter().map(|step| step.file_id);
        file_ids.any(|file_id| shown.iter().any(|file| file.file_id == file_id))
    };
    for cycle in host.cycles.iter().filter(is_shown) {
        lines.extend(cycle_rows(cycle, theme));
        lines.push(plain(""));
    }
    let contended = || host.files.iter().filter(|file| !file.waiters.is_empty());
    let mut kept_by: HashMap<Id<'_>, Vec<&File>> = HashMap::new();
    for file in contended() {
        let ids: HashSet<Id<'_>> = keepers(file).map(Who::id).collect();
        for id in ids {
            kept_by.entry(id).or_default().push(file);
        }
    }
    let waits = contended().flat_map(|file| &file.waiters);
    let waiting: HashSet<Id<'_>> = waits
        .filter_map(|wait| Some(wait.who.as_ref()?.id()))
        .collect();
    let is_head = |file: &&File| !keepers(file).any(|who| waiting.contains(&who.id()));
    let mut tree = Tree {
        host,
        theme,
        kept_by,
        seen: HashSet::new(),
        lines,
    };
    // Heads of chains come first; the remaining files are in a cycle.
    let shown = || {
        let files = shown.iter().copied();
        files.filter(|file| !file.waiters.is_empty())
    };
    for file in shown().filter(is_head) {
        tree.file(file, "", "");
    }
    for file in shown() {
        if !tree.seen.contains(&file.file_id) {
            tree.file(file, "", "");
        }
    }
    if tree.lines.is_empty() {
        tree.lines.push(plain("No process waits for another."));
    }
    tree.lines
}

fn cycle_rows(cycle: &Cycle, theme: Theme) -> Vec<Row> {
    let title = if cycle.certain {
        "Deadlock: these wait for one another and cannot make progress"
    } else {
        "Possible deadlock: these wait for one another, but one has other threads"
    };
    let mut lines = vec![vec![(title.to_owned(), theme.alarm())]];
    let following = cycle.steps.iter().cycle().skip(1);
    for (step, next) in cycle.steps.iter().zip(following) {
        lines.push(plain(format!("  {}", name(&step.waiter))));
        lines.push(plain(format!("    waits for {}", step.path)));
        lines.push(plain(format!("    held by {}", name(&step.holder))));
        // The next waiter is a process for whose end this holder waits.
        let next = next.waiter.pid;
        if next != step.holder.pid {
            lines.push(plain(format!("    which waits for the end of {next}")));
        }
    }
    lines
}

fn name(who: &Who) -> String {
    format!("{} {} ({})", who.pid, brief(&who.command), who.user)
}

fn keepers(file: &File) -> impl Iterator<Item = &Who> {
    file.locks.iter().flat_map(|lock| &lock.keepers)
}

struct Tree<'h> {
    host: &'h Host,
    theme: Theme,
    /// The queues for the locks that each process holds.
    kept_by: HashMap<Id<'h>, Vec<&'h File>>,
    /// Each queue is drawn once: a cycle would have no end.
    seen: HashSet<FileId>,
    lines: Vec<Row>,
}

/// Deeper chains are cut off: their lines cannot be read.
const DEEPEST: usize = 60;

impl Tree<'_> {
    /// A file and its waiters; `lead` is the prefix of its line, `below` the prefix of the lines
    /// that follow.
    fn file(&mut self, file: &File, lead: &str, below: &str) {
        let mut row = plain(format!("{lead}{}", file.path));
        if !self.seen.insert(file.file_id) {
            row.push((" (see above)".into(), Style::new()));
            self.lines.push(row);
            return;
        }
        let holders: Vec<String> = keepers(file).map(name).collect();
        let holders = if holders.is_empty() {
            "a process that cannot be seen".to_owned()
        } else {
            holders.join(", ")
        };
        row.push((format!(", held by {holders}"), Style::new()));
        self.lines.push(row);
        let last = file.waiters.len().saturating_sub(1);
        for (number, wait) in file.waiters.iter().enumerate() {
            let (branch, space) = if number == last {
                ("└─ ", "   ")
            } else {
                ("├─ ", "│  ")
            };
            let who = wait.who.as_ref();
            let text = who.map_or_else(|| "a process that cannot be seen".to_owned(), name);
            let since = waited(wait.since, self.host);
            self.lines.push(vec![
                (format!("{below}{branch}"), Style::new()),
                (format!("{since} "), self.theme.waiting()),
                (text, Style::new()),
            ]);
            if let Some(who) = who {
                self.held_by(who, &format!("{below}{space}"));
            }
        }
    }

    /// The queues for the locks that a waiter holds itself.
    fn held_by(&mut self, who: &Who, below: &str) {
        if below.chars().count() > DEEPEST {
            return;
        }
        for file in self.kept_by.get(&who.id()).cloned().unwrap_or_default() {
            self.file(file, &format!("{below}has "), below);
        }
    }
}
