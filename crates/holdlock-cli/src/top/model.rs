//! The data of the views: the library's snapshot, put into words once for each look.

use std::time::{Instant, SystemTime};

use holdlock::inspect::{self, Deadlock, FileId, LockedFile, Process, Range, Snapshot};
use holdlock::{Mode, Record};

use super::seen::Seen;
use super::text::clean;
use crate::show::held::words;
use crate::show::job;

/// All locks of the host at one moment.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) at: SystemTime,
    pub(super) now: Instant,
    pub(super) files: Vec<File>,
    pub(super) cycles: Vec<Cycle>,
    pub(super) unseen: Vec<String>,
    /// Why the last look failed.
    pub(super) trouble: Option<String>,
    /// The locks are those of an engine, of all hosts. Deadlocks among them are not known.
    pub(super) is_engine: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct File {
    pub(super) file_id: FileId,
    pub(super) path: String,
    /// What it is, besides its path: `file 8:1:42`, `postgres`.
    pub(super) about: String,
    pub(super) locks: Vec<Held>,
    pub(super) waiters: Vec<Wait>,
}

/// A lock and its holders.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) kind: String,
    pub(super) mode: Mode,
    pub(super) range: String,
    /// The taker, if it is not among the holders.
    pub(super) inherited_from: Option<u32>,
    pub(super) keepers: Vec<Who>,
    /// For how long it is held, and why: from its record.
    pub(super) held: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    pub(super) kind: String,
    pub(super) mode: Mode,
    pub(super) range: String,
    pub(super) turn: u32,
    pub(super) who: Option<Who>,
    /// The time since which `top` has seen the process wait.
    pub(super) since: Instant,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Who {
    pub(super) pid: u32,
    pub(super) user: String,
    pub(super) command: String,
    pub(super) state: String,
    pub(super) started: Option<SystemTime>,
    /// The process did not acquire the lock that it holds.
    pub(super) inherited: bool,
    /// The host on which it runs, if it may be another one than ours.
    pub(super) host: Option<String>,
    /// It is not known to run on this host.
    pub(super) is_elsewhere: bool,
}

impl Who {
    /// The same number means another process on another host.
    pub(super) fn id(&self) -> (u32, Option<&str>) {
        (self.pid, self.host.as_deref())
    }
}

/// Processes that wait for one another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cycle {
    pub(super) certain: bool,
    pub(super) steps: Vec<Step>,
}

/// A waiter, its file, and the holder.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) waiter: Who,
    pub(super) file_id: FileId,
    pub(super) path: String,
    pub(super) holder: Who,
}

impl Host {
    pub(super) fn locks(&self) -> usize {
        self.files.iter().map(|file| file.locks.len()).sum()
    }

    pub(super) fn waiting(&self) -> usize {
        self.files.iter().map(|file| file.waiters.len()).sum()
    }

    pub(super) fn file(&self, file_id: FileId) -> Option<&File> {
        self.files.iter().find(|file| file.file_id == file_id)
    }
}

impl File {
    /// The time since which `top` has seen the longest wait.
    pub(super) fn longest(&self) -> Option<Instant> {
        self.waiters.iter().map(|wait| wait.since).min()
    }

    /// The first holder, and the number of other holders.
    pub(super) fn holder(&self) -> Option<(&Who, usize)> {
        let mut all = self.locks.iter().flat_map(|lock| &lock.keepers);
        let first = all.next()?;
        let more: std::collections::BTreeSet<u32> = all.map(|who| who.pid).collect();
        Some((first, more.iter().filter(|pid| **pid != first.pid).count()))
    }

    /// Kind and mode of the first lock; if no lock is held, of the first request.
    pub(super) fn kind(&self) -> String {
        let held = self.locks.first().map(|lock| (&lock.kind, lock.mode));
        let wanted = self.waiters.first().map(|wait| (&wait.kind, wait.mode));
        held.or(wanted)
            .map(|(kind, mode)| kind_and_mode(kind, mode))
            .unwrap_or_default()
    }
}

/// `flock ex`
pub(super) fn kind_and_mode(kind: &str, mode: Mode) -> String {
    let mode = match mode {
        Mode::Shared => "sh",
        _ => "ex",
    };
    format!("{kind} {mode}")
}

pub(super) fn files(snapshot: &Snapshot, seen: &Seen, now: Instant) -> Vec<File> {
    let file = |file: &LockedFile| File {
        file_id: file.file_id,
        path: path(file),
        about: format!("file {}", file.file_id),
        locks: locks(file),
        waiters: waiters(file, seen, now),
    };
    snapshot.files.iter().map(file).collect()
}

pub(super) fn unseen(snapshot: &Snapshot) -> Vec<String> {
    snapshot.unseen.iter().map(ToString::to_string).collect()
}

pub(super) fn cycle(deadlock: &Deadlock) -> Cycle {
    let steps = deadlock.steps.iter().map(|step| {
        let path = step.path.as_ref();
        let path = path.map_or_else(|| format!("file {}", step.file_id), clean);
        Step {
            waiter: who(&step.waiter),
            file_id: step.file_id,
            path,
            holder: who(&step.holder),
        }
    });
    Cycle {
        certain: deadlock.certain,
        steps: steps.collect(),
    }
}

fn path(file: &LockedFile) -> String {
    let mut path = match (&file.path, &file.mount_point) {
        (Some(path), _) => clean(path),
        (None, Some(mount)) => format!("inode {} in {}", file.file_id.inode, clean(mount)),
        (None, None) => format!("file {}", file.file_id),
    };
    if file.elsewhere {
        path.push_str(" [container]");
    }
    if file.removed {
        path.push_str(" [removed]");
    }
    path
}

fn locks(file: &LockedFile) -> Vec<Held> {
    let record = Record::of(file);
    let held = |lock: &inspect::Lock| {
        let is_its = |record: &&Record| {
            let mut holders = lock.holders.iter();
            lock.mode == Mode::Exclusive && holders.any(|one| one.process.pid == record.pid)
        };
        held(lock, record.as_ref().filter(is_its))
    };
    file.locks.iter().map(held).collect()
}

fn held(lock: &inspect::Lock, record: Option<&Record>) -> Held {
    Held {
        held: record.map(|record| clean(&words(record))),
        kind: lock.kind.to_string(),
        mode: lock.mode,
        range: match lock.slot {
            Some(slot) => format!("slot {slot}"),
            None => range(lock.range),
        },
        inherited_from: lock.taker.filter(|_| lock.is_inherited()),
        keepers: lock
            .holders
            .iter()
            .map(|holder| Who {
                inherited: lock.was_passed_to(holder),
                ..who(&holder.process)
            })
            .collect(),
    }
}

fn waiters(file: &LockedFile, seen: &Seen, now: Instant) -> Vec<Wait> {
    let wait = |waiter: &inspect::Waiter| Wait {
        kind: waiter.kind.to_string(),
        mode: waiter.mode,
        range: if waiter.is_for_a_slot() {
            "any slot".to_owned()
        } else {
            range(waiter.range)
        },
        turn: waiter.turn,
        who: waiter.process.as_ref().map(who),
        since: waiter
            .process
            .as_ref()
            .and_then(|process| seen.since(process.pid, file.file_id))
            .unwrap_or(now),
    };
    file.waiters.iter().map(wait).collect()
}

/// Nothing for the whole file.
fn range(range: Range) -> String {
    match range.end {
        _ if range == Range::WHOLE => String::new(),
        Some(end) => format!("bytes {}–{end}", range.start),
        None => format!("bytes {}–end", range.start),
    }
}

fn who(process: &Process) -> Who {
    let unknown = || "?".to_owned();
    Who {
        pid: process.pid,
        user: process.user.as_deref().map_or_else(unknown, clean),
        command: job::of(process).map_or_else(unknown, |job| clean(&job)),
        state: process
            .state
            .map_or_else(unknown, |state| state.to_string()),
        started: process.started,
        inherited: false,
        host: None,
        is_elsewhere: false,
    }
}
