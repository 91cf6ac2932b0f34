//! The columns of the list.

use std::fs;

use holdlock::{Record, inspect};

use super::row::{Row, What};
use crate::show::table::Side;
use crate::show::text::{self, NONE};
use crate::show::time::span;

/// The facts about a lock that can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Pid,
    User,
    Uid,
    Host,
    State,
    Mode,
    Kind,
    Range,
    Slot,
    Start,
    End,
    Started,
    Held,
    Note,
    Token,
    Lease,
    Process,
    Descriptor,
    Taker,
    Holders,
    Blocker,
    Container,
    Cgroup,
    Device,
    Inode,
    Size,
    Path,
    Command,
}

use Column::*;

impl Column {
    pub(crate) const ALL: [Column; 28] = [
        Pid, User, Uid, Host, State, Mode, Kind, Range, Slot, Start, End, Started, Held, Note,
        Token, Lease, Process, Descriptor, Taker, Holders, Blocker, Container, Cgroup, Device,
        Inode, Size, Path, Command,
    ];

    /// The columns without -o. The longest column is the last, where it may be cut.
    pub(crate) const USUAL: [Column; 10] = [
        Pid, User, State, Mode, Kind, Range, Started, Held, Path, Command,
    ];

    fn name(self) -> &'static str {
        match self {
            Pid => "pid",
            User => "user",
            Uid => "uid",
            Host => "host",
            State => "state",
            Mode => "mode",
            Kind => "kind",
            Range => "range",
            Slot => "slot",
            Start => "start",
            End => "end",
            Started => "started",
            Held => "held",
            Note => "note",
            Token => "token",
            Lease => "lease",
            Process => "process",
            Descriptor => "fd",
            Taker => "taker",
            Holders => "holders",
            Blocker => "blocker",
            Container => "container",
            Cgroup => "cgroup",
            Device => "device",
            Inode => "inode",
            Size => "size",
            Path => "path",
            Command => "command",
        }
    }

    pub(crate) fn names() -> [&'static str; 28] {
        Column::ALL.map(Column::name)
    }

    pub(crate) fn named(name: &str) -> Option<Column> {
        let is = |column: &Column| column.name().eq_ignore_ascii_case(name);
        Column::ALL.into_iter().find(is)
    }

    pub(super) fn heading(self) -> &'static str {
        match self {
            Pid => "PID",
            User => "USER",
            Uid => "UID",
            Host => "HOST",
            State => "STATE",
            Mode => "MODE",
            Kind => "KIND",
            Range => "RANGE",
            Slot => "SLOT",
            Start => "START",
            End => "END",
            // The process, and not the lock: the kernel does not record when it was acquired.
            Started => "RUNS FOR",
            Held => "HELD FOR",
            Note => "NOTE",
            Token => "TOKEN",
            Lease => "LEASE",
            Process => "PROCESS",
            Descriptor => "FD",
            Taker => "TAKER",
            Holders => "HOLDERS",
            Blocker => "BLOCKER",
            Container => "CONTAINER",
            Cgroup => "CGROUP",
            Device => "DEVICE",
            Inode => "INODE",
            Size => "SIZE",
            Path => "PATH",
            Command => "COMMAND",
        }
    }

    pub(super) fn side(self) -> Side {
        match self {
            Pid | Uid | Slot | Start | End | Token | Descriptor | Taker | Blocker | Inode
            | Size => Side::Right,
            _ => Side::Left,
        }
    }

    /// The cell of a row. Facts that are costly to find are read only here.
    pub(super) fn of(self, row: &Row<'_>) -> String {
        let range = row.range();
        let process = row.process;
        match self {
            Pid => shown(process.map(|process| process.pid)),
            User => process.map_or_else(none, text::user),
            Uid => shown(process.and_then(|process| process.uid)),
            State => match row.what {
                What::Holds(_) => "held".into(),
                What::Waits(waiter) => format!("waits {}", waiter.turn),
            },
            Mode => row.mode().to_string(),
            Kind => row.kind().to_string(),
            Range => match row.what {
                What::Holds(lock) => text::extent(lock),
                What::Waits(waiter) => text::wanted(waiter),
            },
            Slot => shown(match row.what {
                What::Holds(lock) => lock.slot,
                What::Waits(_) => None,
            }),
            Start => range.start.to_string(),
            End => range
                .end
                .map_or_else(|| "EOF".into(), |end| end.to_string()),
            Started => shown(process.and_then(age)),
            Held => shown(record(row).and_then(|record| Some(span(record.since.age()?)))),
            Note => shown(record(row).and_then(|record| record.note)),
            Token => shown(record(row).map(|record| record.token)),
            // These are for locks of engines.
            Host | Lease => none(),
            Process => shown(process.and_then(|process| process.state)),
            Descriptor => shown(row.descriptor),
            Taker => shown(taker(row)),
            Holders => holders(row),
            Blocker => shown(row.blocker()),
            Container => shown(process.and_then(|process| process.container())),
            Cgroup => shown(process.and_then(|process| process.cgroup())),
            Device => format!(
                "{:02x}:{:02x}",
                row.file.file_id.major, row.file.file_id.minor
            ),
            Inode => row.file.file_id.inode.to_string(),
            Size => shown(size(row)),
            Path => text::file(row.file),
            Command => process.map_or_else(none, text::command),
        }
    }
}

fn none() -> String {
    NONE.into()
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(none, |value| value.to_string())
}

/// `3 min`
fn age(process: &inspect::Process) -> Option<String> {
    Some(span(process.started?.elapsed().unwrap_or_default()))
}

/// The record of the lock, if it is that of the row's process. Only the file of an exclusive lock
/// is read: many may share a lock.
fn record(row: &Row<'_>) -> Option<Record> {
    let What::Holds(lock) = row.what else {
        return None;
    };
    if lock.mode != holdlock::Mode::Exclusive {
        return None;
    }
    let pid = row.process?.pid;
    Record::of(row.file).filter(|record| record.pid == pid)
}

fn taker(row: &Row<'_>) -> Option<u32> {
    match row.what {
        What::Holds(lock) => lock.taker,
        What::Waits(_) => None,
    }
}

fn holders(row: &Row<'_>) -> String {
    let What::Holds(lock) = row.what else {
        return none();
    };
    let pids = lock
        .holders
        .iter()
        .map(|holder| holder.process.pid.to_string());
    let pids: Vec<String> = pids.collect();
    if pids.is_empty() {
        none()
    } else {
        pids.join(",")
    }
}

/// The size of the file, found by the descriptor: it works also if the file was removed or is in a
/// container.
fn size(row: &Row<'_>) -> Option<u64> {
    let (pid, descriptor) = (row.process?.pid, row.descriptor?);
    let link = format!("/proc/{pid}/fd/{descriptor}");
    fs::metadata(link).ok().map(|metadata| metadata.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_differ() {
        for column in Column::ALL {
            assert_eq!(Column::named(column.name()), Some(column));
            assert_eq!(Column::named(&column.name().to_uppercase()), Some(column));
        }
        assert_eq!(Column::named("nothing"), None);
    }
}
