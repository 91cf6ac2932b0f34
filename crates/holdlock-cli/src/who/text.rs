//! The answer for people.

use std::borrow::Cow;
use std::io::IsTerminal;
use std::time::Duration;

use holdlock::inspect::{Kind, Lock, LockedFile, Process, Range};
use holdlock::{Mode, Record};

use super::job;
use super::view::{Answer, View};
use crate::show::held;
use crate::show::table::{Side, Table};
use crate::show::terminal;
use crate::show::text::{self, NONE};
use crate::show::time::rounded;

const INDENT: &str = "  ";

/// The number of waiters, and of processes of a job, that a terminal shows.
const FEW: usize = 10;

/// The whole answer. On a terminal, long lists are shortened unless the user asks for all.
pub(super) fn report(view: &View, all: bool) -> String {
    let short = !all && std::io::stdout().is_terminal();
    let most = if short { FEW } else { usize::MAX };
    let path = text::path(&view.path);
    let mut answer = match view.current() {
        Some(file) => format!("{path}: {}\n{}", summary(file), details(file, most)),
        None if view.exists => format!("{path}: free\n"),
        None => format!("{path}: free, there is no such file\n"),
    };
    for file in view.removed() {
        answer += &format!(
            "{path}: a removed file of this name (inode {}): {}\n{}",
            file.file_id.inode,
            summary(file),
            details(file, most)
        );
    }
    answer
}

/// The result of a wait.
pub(super) fn waited(view: &View, waited: Duration) -> String {
    if view.is_free() {
        let path = text::path(&view.path);
        return format!("{path}: free after {}\n", rounded(waited));
    }
    let notes = view.locks().filter_map(inherited);
    let notes: String = notes.map(|note| format!("{INDENT}{note}\n")).collect();
    format!("{}\n{notes}", still_held(view, waited))
}

/// `PATH: still held after 3 s, by pid 7 (make) of ann`
pub(crate) fn still_held(view: &View, waited: Duration) -> String {
    let holders = view.holders();
    let names = holders.iter().map(|holder| text::process_cut(holder, None));
    let names = names.collect::<Vec<_>>().join(" and by ");
    let by = match view.answer {
        Answer::HeldOutside => ", by a process outside this PID namespace",
        _ if names.is_empty() => "",
        _ => ", by ",
    };
    let path = text::path(&view.path);
    format!("{path}: still held after {}{by}{names}", rounded(waited))
}

/// `held, exclusive flock; 2 wait`
fn summary(file: &LockedFile) -> String {
    let mut kinds: Vec<String> = Vec::new();
    let taken = file.locks.iter().filter(|lock| lock.slot.is_some()).count();
    if let Some(slots) = file.slots
        && taken > 0
    {
        kinds.push(format!(
            "{taken} of {}",
            text::count(slots as usize, "slot", "slots")
        ));
    }
    let others = file.locks.iter().filter(|lock| lock.slot.is_none());
    for lock in others.filter(|lock| lock.kind != Kind::Lease) {
        let kind = format!("{} {}", lock.mode, lock.kind);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    let mut summary = match kinds.as_slice() {
        [] if file.waiters.is_empty() => "free".to_owned(),
        [] => "held, by a process that cannot be seen".to_owned(),
        kinds => format!("held, {}", kinds.join(" and ")),
    };
    if file.locks.iter().any(|lock| lock.kind == Kind::Lease) {
        summary += "; a lease: opening the file waits for it";
    }
    if !file.waiters.is_empty() {
        summary += &format!("; {}", text::count(file.waiters.len(), "waits", "wait"));
    }
    summary
}

fn details(file: &LockedFile, most: usize) -> String {
    let (lines, left_out) = lines(file, most);
    let table = table(&lines).draw(
        true,
        terminal::width().map(|width| width.saturating_sub(INDENT.len())),
    );
    let notes = file.locks.iter().filter_map(inherited);
    let record = Record::of(file);
    let held = record.map(|record| format!("pid {} holds it {}", record.pid, held::words(&record)));
    let notes: Vec<String> = left_out
        .into_iter()
        .chain(held)
        .chain(notes)
        .chain(file_id(file))
        .collect();
    let lines = table.lines().map(str::to_owned).chain(notes);
    lines.map(|line| format!("{INDENT}{line}\n")).collect()
}

/// A process that holds, works or waits.
struct Line<'f> {
    role: String,
    process: Option<Cow<'f, Process>>,
    mode: Option<Mode>,
    kind: Option<Kind>,
    /// What the lock covers.
    extent: String,
}

/// The lines of a file, and the notes about lines that are left out.
fn lines(file: &LockedFile, most: usize) -> (Vec<Line<'_>>, Vec<String>) {
    let mut lines = Vec::new();
    let mut left_out = Vec::new();
    let mut holders = Vec::new();
    for lock in &file.locks {
        let line = |role: &str, process| Line {
            role: role.to_owned(),
            process,
            mode: Some(lock.mode),
            kind: Some(lock.kind),
            extent: text::extent(lock),
        };
        if lock.holders.is_empty() {
            lines.push(line("holds", None));
        }
        for holder in &lock.holders {
            let inherited = lock.was_passed_to(holder);
            let role = if inherited { "inherited" } else { "holds" };
            lines.push(line(role, Some(Cow::Borrowed(&holder.process))));
            let pid = holder.process.pid;
            if holders.contains(&pid) {
                continue;
            }
            holders.push(pid);
            let job = job::of(&holder.process);
            if job.len() > most {
                let more = job.len() - most;
                left_out.push(format!(
                    "and {more} more in the job of pid {pid}; --all shows them"
                ));
            }
            lines.extend(job.into_iter().take(most).map(|process| Line {
                role: "  job".to_owned(),
                process: Some(Cow::Owned(process)),
                mode: None,
                kind: None,
                extent: NONE.to_owned(),
            }));
        }
    }
    if file.waiters.len() > most {
        let more = text::count(file.waiters.len() - most, "more waits", "more wait");
        left_out.push(format!("and {more}; --all shows them"));
    }
    lines.extend(file.waiters.iter().take(most).map(|waiter| Line {
        role: format!("waits {}", waiter.turn),
        process: waiter.process.as_ref().map(Cow::Borrowed),
        mode: Some(waiter.mode),
        kind: Some(waiter.kind),
        extent: text::wanted(waiter),
    }));
    (lines, left_out)
}

/// Leaves out columns that have the usual value in all lines.
fn table(lines: &[Line<'_>]) -> Table {
    let has_jobs = lines.iter().any(|line| line.mode.is_none());
    // The state matters for the processes of a job; for other processes only an unusual state does.
    let state = |line: &Line<'_>| {
        let state = line.process.as_ref().and_then(|process| process.state);
        if has_jobs {
            state
        } else {
            text::notable(state)
        }
    };
    let file_ids: Vec<Option<String>> = lines
        .iter()
        .map(|line| surroundings(line.process.as_ref()?))
        .collect();
    let whole = text::range(Range::WHOLE);
    let ranges = lines
        .iter()
        .any(|line| line.mode.is_some() && line.extent != whole);
    let states = lines.iter().any(|line| state(line).is_some());
    let has_places = file_ids.iter().any(Option::is_some);
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
    for (line, file_id) in lines.iter().zip(file_ids) {
        let process = line.process.as_deref();
        let mut row = vec![
            line.role.clone(),
            process.map_or_else(none, |process| process.pid.to_string()),
            process.map_or_else(none, text::user),
            line.mode.map_or_else(none, |mode| mode.to_string()),
            line.kind.map_or_else(none, |kind| kind.to_string()),
        ];
        row.extend(ranges.then(|| line.extent.clone()));
        row.extend(states.then(|| state(line).map_or_else(none, |state| state.to_string())));
        row.extend(has_places.then(|| file_id.unwrap_or_else(none)));
        row.push(text::ago(process.and_then(|process| process.started)));
        row.push(process.map_or_else(|| "(cannot be seen)".into(), text::command));
        table.row(row);
    }
    table
}

/// The container or the service in which a process runs.
fn surroundings(process: &Process) -> Option<String> {
    let cgroup = process.cgroup()?;
    if let Some(container) = process.container() {
        return Some(format!("container {container}"));
    }
    let (_, unit) = cgroup.rsplit_once('/')?;
    unit.ends_with(".service").then(|| text::printable(unit))
}

/// A note about a lock that its taker no longer holds.
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
        [] => format!("{what}: taken by {taker}; its holder cannot be seen"),
        pids => format!(
            "{what}: taken by {taker}; kept by pid {}, which inherited the open file",
            pids.join(" and pid ")
        ),
    })
}

/// A note about a file that has its path in another mount namespace.
fn file_id(file: &LockedFile) -> Option<String> {
    let path = file.path.as_deref().filter(|_| file.elsewhere)?;
    Some(format!(
        "opened as {}, in another mount namespace",
        text::path(path)
    ))
}
