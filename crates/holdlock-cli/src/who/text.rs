//! The answer for people.

use std::time::Duration;

use holdlock::Mode;
use holdlock::inspect::{Kind, Lock, LockedFile, Process, Range};

use super::view::View;
use crate::show::table::{Side, Table};
use crate::show::text::{self, NONE};
use crate::show::{terminal, time};

const INDENT: &str = "  ";

/// All there is to say about a lock.
pub(super) fn report(view: &View) -> String {
    let path = text::path(&view.path);
    let mut answer = match view.current() {
        Some(file) => format!("{path}: {}\n{}", summary(file), details(file)),
        None if view.exists => format!("{path}: free\n"),
        None => format!("{path}: free, there is no such file\n"),
    };
    for file in view.removed() {
        answer += &format!(
            "{path}: a removed file of this name (inode {}): {}\n{}",
            file.place.inode,
            summary(file),
            details(file)
        );
    }
    answer
}

/// How a wait has ended.
pub(super) fn waited(view: &View, waited: Duration) -> String {
    let path = text::path(&view.path);
    let time = time::span(waited);
    match view.is_held() {
        false => format!("{path}: free after {time}\n"),
        true => {
            let holders = view.holders();
            let names = holders.iter().map(|holder| text::process(holder));
            let names = names.collect::<Vec<_>>().join(" and by ");
            let by = if names.is_empty() { "" } else { ", by " };
            let notes = view.locks().filter_map(inherited);
            let notes: String = notes.map(|note| format!("{INDENT}{note}\n")).collect();
            format!("{path}: still held after {time}{by}{names}\n{notes}")
        }
    }
}

/// `held, exclusive flock; 2 wait`
fn summary(file: &LockedFile) -> String {
    let mut kinds: Vec<String> = Vec::new();
    for lock in file.locks.iter().filter(|lock| lock.kind != Kind::Lease) {
        let kind = format!("{} {}", lock.mode, lock.kind);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let mut summary = match kinds.as_slice() {
        [] if file.waiters.is_empty() => "free".to_owned(),
        [] => "held, by whom cannot be seen".to_owned(),
        kinds => format!("held, {}", kinds.join(" and ")),
    };
    if file.locks.iter().any(|lock| lock.kind == Kind::Lease) {
        summary += "; a lease, for which those wait who open it";
    }
    if !file.waiters.is_empty() {
        summary += &format!("; {}", text::count(file.waiters.len(), "waits", "wait"));
    }
    summary
}

fn details(file: &LockedFile) -> String {
    let table = table(file).draw(
        true,
        terminal::width().map(|width| width.saturating_sub(INDENT.len())),
    );
    let notes = file.locks.iter().filter_map(inherited);
    let notes: Vec<String> = notes.chain(place(file)).collect();
    let lines = table.lines().map(str::to_owned).chain(notes);
    lines.map(|line| format!("{INDENT}{line}\n")).collect()
}

/// One who holds or waits.
struct Line<'f> {
    role: String,
    process: Option<&'f Process>,
    mode: Mode,
    kind: Kind,
    range: Range,
}

fn lines(file: &LockedFile) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for lock in &file.locks {
        let line = |role: &str, process| Line {
            role: role.to_owned(),
            process,
            mode: lock.mode,
            kind: lock.kind,
            range: lock.range,
        };
        match lock.holders.as_slice() {
            [] => lines.push(line("holds", None)),
            some => lines.extend(some.iter().map(|holder| {
                let inherited = lock.was_passed_to(holder);
                let role = if inherited { "inherited" } else { "holds" };
                line(role, Some(&holder.process))
            })),
        }
    }
    lines.extend(file.waiters.iter().map(|waiter| Line {
        role: format!("waits {}", waiter.turn),
        process: waiter.process.as_ref(),
        mode: waiter.mode,
        kind: waiter.kind,
        range: waiter.range,
    }));
    lines
}

/// What is the same for everybody, and as everybody expects it, has no column.
fn table(file: &LockedFile) -> Table {
    let lines = lines(file);
    let state = |line: &Line<'_>| text::notable(line.process.and_then(|process| process.state));
    let places: Vec<Option<String>> = lines
        .iter()
        .map(|line| surroundings(line.process?))
        .collect();
    let ranges = lines.iter().any(|line| line.range != Range::WHOLE);
    let states = lines.iter().any(|line| state(line).is_some());
    let has_places = places.iter().any(Option::is_some);
    let mut table = Table::default();
    for (heading, side, shown) in [
        ("", Side::Left, true),
        ("PID", Side::Right, true),
        ("USER", Side::Left, true),
        ("MODE", Side::Left, true),
        ("KIND", Side::Left, true),
        ("RANGE", Side::Left, ranges),
        ("STATE", Side::Left, states),
        ("IN", Side::Left, has_places),
        ("PROCESS STARTED", Side::Left, true),
        ("COMMAND", Side::Left, true),
    ] {
        if shown {
            table.column(heading, side);
        }
    }
    let none = || NONE.to_owned();
    for (line, place) in lines.iter().zip(places) {
        let process = line.process;
        let mut row = vec![
            line.role.clone(),
            process.map_or_else(none, |process| process.pid.to_string()),
            process.map_or_else(none, text::user),
            line.mode.to_string(),
            line.kind.to_string(),
        ];
        row.extend(ranges.then(|| text::range(line.range)));
        row.extend(states.then(|| state(line).map_or_else(none, |state| state.to_string())));
        row.extend(has_places.then(|| place.unwrap_or_else(none)));
        row.push(text::ago(process.and_then(|process| process.started)));
        row.push(process.map_or_else(|| "(cannot be seen)".into(), text::command));
        table.row(row);
    }
    table
}

/// The container a process runs in, or the service.
fn surroundings(process: &Process) -> Option<String> {
    let cgroup = process.cgroup()?;
    if let Some(container) = process.container() {
        return Some(format!("container {container}"));
    }
    let (_, unit) = cgroup.rsplit_once('/')?;
    unit.ends_with(".service").then(|| text::printable(unit))
}

/// A lock that is not with who took it any more.
fn inherited(lock: &Lock) -> Option<String> {
    if !lock.is_inherited() {
        return None;
    }
    let what = format!("{} {}", lock.mode, lock.kind);
    let ended = |taker| {
        Process::of(taker)
            .is_none_or(|process| process.state == Some(holdlock::inspect::State::Zombie))
    };
    let taker = match lock.taker {
        None => "a process that has ended, or is outside of this container".to_owned(),
        Some(taker) if ended(taker) => format!("pid {taker}, which has ended"),
        Some(taker) => format!("pid {taker}, which has passed it on"),
    };
    let pids = lock
        .holders
        .iter()
        .map(|holder| holder.process.pid.to_string());
    let pids: Vec<String> = pids.collect();
    Some(match pids.as_slice() {
        [] => format!("{what}: taken by {taker}; who keeps it cannot be seen"),
        pids => format!(
            "{what}: taken by {taker}; kept by pid {}, which inherited the open file",
            pids.join(" and pid ")
        ),
    })
}

/// The file as others see it.
fn place(file: &LockedFile) -> Option<String> {
    let path = file.path.as_deref().filter(|_| file.elsewhere)?;
    Some(format!(
        "opened as {}, in another mount namespace",
        text::path(path)
    ))
}
