//! The state of a lock of an engine at one moment, and waiting until it is free.

use std::thread;
use std::time::{Duration, Instant};

use holdlock_engines::{EngineLock, Member, Members};
use serde_json::{Value, json};

use super::{failure, json};
use crate::exit::Failure;
use crate::show::table::{Side, Table};
use crate::show::text::{self, NONE, printable};
use crate::show::time::{rounded, span};
use crate::who::Patience;

/// The time until the second look; it doubles after each look.
const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(1);

/// What is known about a lock.
pub(crate) struct View {
    pub(crate) lock: EngineLock,
    pub(crate) members: Members,
}

impl View {
    pub(crate) fn of(lock: EngineLock) -> Result<View, Failure> {
        let mut view = View {
            lock,
            members: Members::default(),
        };
        view.look()?;
        Ok(view)
    }

    /// Asks the engine again.
    pub(crate) fn look(&mut self) -> Result<(), Failure> {
        self.members = self.lock.members().map_err(|error| failure(&error))?;
        Ok(())
    }

    /// A waiter waits for a holder, even for one that was not seen.
    pub(crate) fn is_free(&self) -> bool {
        self.members.holders.is_empty() && self.members.waiters.is_empty()
    }

    /// What is known, for machines: the fields of a lock file, and `engine`.
    pub(crate) fn fields(&self) -> Value {
        let (name, engine) = (self.lock.name(), self.lock.kind());
        json!({
            "path": name,
            "engine": engine,
            "exists": true,
            "held": !self.is_free(),
            "files": [json::file(name, engine, &self.members, |_| true)],
            "jobs": [],
            "unseen": [],
        })
    }

    /// `URL: still held after 3 s, by pid 7 (make) of ann on host3`
    pub(crate) fn still_held(&self, waited: Duration) -> String {
        let holders = self.members.holders.iter().map(ToString::to_string);
        let holders = holders.collect::<Vec<_>>().join(" and by ");
        let by = if holders.is_empty() { "" } else { ", by " };
        let waited = rounded(waited);
        format!(
            "{}: still held after {waited}{by}{holders}",
            self.lock.name()
        )
    }
}

/// Looks until all locks are free in one look, or the time is over. Returns how long that took.
pub(crate) fn until_free(views: &mut [View], patience: Patience) -> Result<Duration, Failure> {
    let began = Instant::now();
    let mut pause = FIRST;
    while !views.iter().all(View::is_free) {
        let rest = match patience {
            Patience::Endless => Duration::MAX,
            Patience::For(limit) => limit.saturating_sub(began.elapsed()),
        };
        if rest.is_zero() {
            break;
        }
        thread::sleep(pause.min(rest));
        pause = (2 * pause).min(LONGEST);
        views.iter_mut().try_for_each(View::look)?;
    }
    Ok(began.elapsed())
}

/// `held, exclusive postgres; 2 wait`
pub(crate) fn summary(members: &Members, engine: &str) -> String {
    let mut modes: Vec<String> = Vec::new();
    for holder in &members.holders {
        let mode = format!("{} {engine}", holder.mode);
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    let mut summary = match (modes.as_slice(), members.waiters.len()) {
        ([], 0) => "free".to_owned(),
        ([], _) => "held, by a session that cannot be seen".to_owned(),
        (modes, _) => format!("held, {}", modes.join(" and ")),
    };
    if !members.waiters.is_empty() {
        let waiting = text::count(members.waiters.len(), "waits", "wait");
        summary += &format!("; {waiting}");
    }
    summary
}

/// A line for each holder and each waiter, and the notes below them. At most `most` waiters.
pub(crate) fn lines(members: &Members, most: usize, width: Option<usize>) -> Vec<String> {
    let holders = members.holders.iter();
    let holders = holders.map(|holder| ("holds".to_owned(), holder));
    let waiters = members.waiters.iter().zip(1..).take(most);
    let waiters = waiters.map(|(waiter, turn)| (format!("waits {turn}"), waiter));
    let rows: Vec<(String, &Member)> = holders.chain(waiters).collect();
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| !column.optional || rows.iter().any(|(_, one)| (column.cell)(one) != NONE))
        .collect();
    let mut table = Table::default();
    table.column("", Side::Left);
    for column in &columns {
        table.column(column.heading, column.side);
    }
    for (role, member) in &rows {
        let cells = columns.iter().map(|column| (column.cell)(member));
        table.row(std::iter::once(role.clone()).chain(cells).collect());
    }
    let drawn = table.draw(true, width);
    let mut lines: Vec<String> = drawn.lines().map(str::to_owned).collect();
    if members.waiters.len() > most {
        let more = text::count(members.waiters.len() - most, "more waits", "more wait");
        lines.push(format!("and {more}; --all shows them"));
    }
    let noted = rows
        .iter()
        .filter_map(|(role, one)| Some((role, one, one.note.as_ref()?)));
    lines.extend(noted.map(|(role, one, note)| {
        let pid = one
            .pid
            .map_or_else(|| "a session".to_owned(), |pid| format!("pid {pid}"));
        let verb = role.split(' ').next().unwrap_or_default();
        format!("{pid} {verb} it: {}", printable(note))
    }));
    lines
}

struct Column {
    heading: &'static str,
    side: Side,
    /// Left out where no line has a value.
    optional: bool,
    cell: fn(&Member) -> String,
}

const COLUMNS: [Column; 8] = [
    Column {
        heading: "PID",
        side: Side::Right,
        optional: false,
        cell: |one| shown(one.pid),
    },
    Column {
        heading: "USER",
        side: Side::Left,
        optional: false,
        cell: |one| text_or_none(one.user.as_ref().or(one.login.as_ref())),
    },
    Column {
        heading: "HOST",
        side: Side::Left,
        optional: false,
        cell: |one| text_or_none(one.host.as_ref()),
    },
    Column {
        heading: "MODE",
        side: Side::Left,
        optional: false,
        cell: |one| one.mode.to_string(),
    },
    Column {
        heading: "SINCE",
        side: Side::Left,
        optional: false,
        cell: |one| text::ago(one.since),
    },
    Column {
        heading: "TOKEN",
        side: Side::Right,
        optional: true,
        cell: |one| shown(one.token),
    },
    Column {
        heading: "LEASE",
        side: Side::Left,
        optional: true,
        cell: |one| shown(one.rest.map(|rest| format!("{} left", span(rest)))),
    },
    Column {
        heading: "COMMAND",
        side: Side::Left,
        optional: false,
        cell: |one| text_or_none(one.command.as_ref()),
    },
];

pub(crate) fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

pub(crate) fn text_or_none(text: Option<&String>) -> String {
    shown(text.map(|text| printable(text)))
}
