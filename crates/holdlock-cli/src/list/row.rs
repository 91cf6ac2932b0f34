//! One line of the list: a lock that is held, or a request that waits.

use holdlock::Mode;
use holdlock::inspect::{Kind, Lock, LockedFile, Process, Range, Snapshot, Waiter};

use super::filter::{Prepared, is_in_the_way};

/// A lock or a request, its file, and the process that the line names.
pub(super) struct Row<'s> {
    pub(super) file: &'s LockedFile,
    pub(super) what: What<'s>,
    pub(super) process: Option<&'s Process>,
    pub(super) descriptor: Option<u32>,
}

/// Whether the process holds a lock or waits.
#[derive(Clone, Copy)]
pub(super) enum What<'s> {
    Holds(&'s Lock),
    Waits(&'s Waiter),
}

/// The wanted lines. The lines of a file follow each other.
pub(super) fn rows<'s>(snapshot: &'s Snapshot, filter: &Prepared) -> Vec<Row<'s>> {
    let mut rows = Vec::new();
    for file in snapshot.files.iter().filter(|file| filter.wants_file(file)) {
        let locks = file.locks.iter().filter(|lock| filter.wants_lock(lock));
        rows.extend(locks.map(|lock| held(file, lock, filter)));
        let waiters = file.waiters.iter().filter(|one| filter.wants_waiter(one));
        rows.extend(waiters.map(|waiter| Row {
            file,
            what: What::Waits(waiter),
            process: waiter.process.as_ref(),
            descriptor: waiter.descriptor,
        }));
    }
    rows
}

/// The line of a lock. If there are several holders, it names the one that the filter wants, or
/// else the taker.
fn held<'s>(file: &'s LockedFile, lock: &'s Lock, filter: &Prepared) -> Row<'s> {
    let asked_for = lock.holders.iter().find(|one| filter.wants(&one.process));
    let holder = asked_for.or(lock.holders.first());
    Row {
        file,
        what: What::Holds(lock),
        process: holder.map(|holder| &holder.process),
        descriptor: holder.and_then(|holder| holder.descriptor),
    }
}

impl Row<'_> {
    pub(super) fn kind(&self) -> Kind {
        match self.what {
            What::Holds(lock) => lock.kind,
            What::Waits(waiter) => waiter.kind,
        }
    }

    pub(super) fn mode(&self) -> Mode {
        match self.what {
            What::Holds(lock) => lock.mode,
            What::Waits(waiter) => waiter.mode,
        }
    }

    pub(super) fn range(&self) -> Range {
        match self.what {
            What::Holds(lock) => lock.range,
            What::Waits(waiter) => waiter.range,
        }
    }

    /// The process for whose lock this request waits. If the request waits only behind other
    /// requests, the process for which those wait.
    pub(super) fn blocker(&self) -> Option<u32> {
        let What::Waits(waiter) = self.what else {
            return None;
        };
        let locks = || self.file.locks.iter();
        let lock = locks()
            .find(|lock| is_in_the_way(lock, waiter))
            .or_else(|| locks().find(|lock| lock.kind.meets(waiter.kind)))?;
        let holder = lock.holders.first();
        holder.map(|holder| holder.process.pid).or(lock.taker)
    }
}
