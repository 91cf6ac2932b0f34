//! One file: the holders of its locks, and the waiters in their order.

use holdlock::inspect::FileId;

use super::{Row, Theme, plain, started, waited};
use crate::show::width::{left, right, tail};
use crate::top::model::{Held, Host, Wait, Who, kind_and_mode};

pub(super) fn lines(host: &Host, file_id: FileId, room: usize, theme: Theme) -> Vec<Row> {
    let Some(file) = host.file(file_id) else {
        return vec![plain(
            "No process holds a lock on this file or waits for one now.",
        )];
    };
    let mut lines = vec![
        vec![(tail(&file.path, room), theme.title())],
        plain(file.about.clone()),
        plain(""),
        vec![(titles("HELD", "RUNS FOR"), theme.columns())],
    ];
    lines.extend(file.locks.iter().flat_map(|lock| holders(lock, host)));
    if file.locks.is_empty() {
        lines.push(plain(
            "  no process: the next waiter is about to acquire it",
        ));
    }
    lines.push(plain(""));
    lines.push(vec![(titles("WAITS", "WAITS FOR"), theme.columns())]);
    lines.extend(file.waiters.iter().map(|wait| waiter(wait, host, theme)));
    if file.waiters.is_empty() {
        lines.push(plain("  no process"));
    }
    lines.extend(host.unseen.iter().flat_map(|text| [plain(""), plain(text)]));
    lines
}

fn titles(what: &str, time: &str) -> String {
    fields([what, "LOCK", "PID", "USER", "STATE", time, "COMMAND"])
}

/// The columns of both tables.
fn fields([first, lock, pid, user, state, time, command]: [&str; 7]) -> String {
    [
        left(first, 5),
        left(lock, 8),
        right(pid, 7),
        left(user, 8),
        left(state, 9),
        right(time, 9),
        command.to_owned(),
    ]
    .join(" ")
}

fn holders(lock: &Held, host: &Host) -> Vec<Row> {
    let name = kind_and_mode(&lock.kind, lock.mode);
    let mut lines: Vec<Row> = Vec::new();
    for (number, who) in lock.keepers.iter().enumerate() {
        // All hold the same lock; the others have inherited it.
        let first = if number == 0 { "" } else { "also" };
        let runs = started(who.started, host);
        lines.push(plain(person(first, &name, who, &runs)));
    }
    if lock.keepers.is_empty() {
        lines.push(plain(format!(
            "      {name}  by a process that cannot be seen"
        )));
    }
    if let Some(held) = &lock.held {
        lines.push(plain(format!("      held {held}")));
    }
    if let Some(taker) = lock.inherited_from {
        lines.push(plain(format!(
            "      inherited: pid {taker} acquired it, and has ended or passed it on"
        )));
    }
    if !lock.range.is_empty() {
        lines.push(plain(format!("      {}", lock.range)));
    }
    lines
}

fn waiter(wait: &Wait, host: &Host, theme: Theme) -> Row {
    let turn = format!("{:>4}.", wait.turn);
    let mut name = kind_and_mode(&wait.kind, wait.mode);
    if !wait.range.is_empty() {
        name.push('*');
    }
    let since = waited(wait.since, host);
    match &wait.who {
        Some(who) => {
            let mut text = person(&turn, &name, who, &since);
            text.push_str(&format!("  (runs for {})", started(who.started, host)));
            if !wait.range.is_empty() {
                text.push_str(&format!("  * {}", wait.range));
            }
            vec![(text, theme.waiting())]
        }
        None => plain(fields([
            &turn,
            &name,
            "?",
            "?",
            "?",
            &since,
            "cannot be seen",
        ])),
    }
}

fn person(first: &str, lock: &str, who: &Who, time: &str) -> String {
    let pid = who.pid.to_string();
    fields([first, lock, &pid, &who.user, &who.state, time, &who.command])
}
