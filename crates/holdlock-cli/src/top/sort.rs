//! Chooses the files to show, and their order.

use std::cmp::{Ordering, Reverse};

use super::model::{File, Host};

/// A column of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Waiters,
    Longest,
    Kind,
    Holder,
    Path,
}

const COLUMNS: [Column; 5] = [
    Column::Waiters,
    Column::Longest,
    Column::Kind,
    Column::Holder,
    Column::Path,
];

impl Column {
    /// The next or the previous column; the first follows the last.
    pub(super) fn next(self, forward: bool) -> Column {
        let at = COLUMNS.iter().position(|column| *column == self);
        let step = if forward { 1 } else { COLUMNS.len() - 1 };
        COLUMNS[(at.unwrap_or(0) + step) % COLUMNS.len()]
    }
}

/// What the list leaves out, and how it is sorted.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) column: Column,
    pub(super) reversed: bool,
    pub(super) text: String,
    pub(super) contended: bool,
}

impl Default for Choice {
    fn default() -> Choice {
        Choice {
            column: Column::Waiters,
            reversed: false,
            text: String::new(),
            contended: false,
        }
    }
}

/// The files to show, in their order.
pub(super) fn chosen<'h>(host: &'h Host, choice: &Choice) -> Vec<&'h File> {
    let text = choice.text.to_lowercase();
    let shown = |file: &&File| {
        (!choice.contended || !file.waiters.is_empty()) && (text.is_empty() || has(file, &text))
    };
    let mut files: Vec<&File> = host.files.iter().filter(shown).collect();
    files.sort_by(|a, b| {
        let order = order(a, b, choice.column);
        let order = if choice.reversed {
            order.reverse()
        } else {
            order
        };
        // Equal files keep their order from look to look.
        order
            .then_with(|| a.path.cmp(&b.path))
            .then_with(|| a.file_id.cmp(&b.file_id))
    });
    files
}

fn order(a: &File, b: &File, column: Column) -> Ordering {
    // A file without a wait comes after the shortest wait.
    let longest = |file: &File| file.longest().map_or((true, None), |at| (false, Some(at)));
    let waiters = |file: &File| Reverse(file.waiters.len());
    let most = || waiters(a).cmp(&waiters(b));
    let oldest = || longest(a).cmp(&longest(b));
    match column {
        Column::Waiters => most().then_with(oldest),
        Column::Longest => oldest().then_with(most),
        Column::Kind => a.kind().cmp(&b.kind()),
        Column::Holder => holder(a).cmp(&holder(b)),
        Column::Path => a.path.cmp(&b.path),
    }
}

fn holder(file: &File) -> (bool, &str, u32) {
    match file.holder() {
        Some((who, _)) => (false, &who.command, who.pid),
        None => (true, "", 0),
    }
}

/// Whether a lower-case text occurs in the facts about a file.
fn has(file: &File, text: &str) -> bool {
    let holders = file.locks.iter().flat_map(|lock| &lock.keepers);
    let waiters = file.waiters.iter().filter_map(|wait| wait.who.as_ref());
    file.path.to_lowercase().contains(text)
        || holders.chain(waiters).any(|who| {
            who.command.to_lowercase().contains(text)
                || who.user.to_lowercase().contains(text)
                || who.pid.to_string() == text
        })
}
