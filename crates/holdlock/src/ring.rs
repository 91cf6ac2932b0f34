//! Whether a wait of this process can never end, because it closes a ring.
//!
//! Between processes the ring goes through the kernel's lock table. Within this process more is
//! known than the kernel tells: which thread is inside which gate, by a guard that cannot
//! leave the thread. Only such a lock is certainly kept for as long as the thread waits; what
//! another thread holds, it may release.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::gate::Owner;
use crate::inspect::{self, Deadlock, Kind, Ours, Place, Process, Step};
use crate::registry;
use crate::sentinel::Record;

/// The ring that this wait closes, if it does. `all` are the waits of this process.
pub(crate) fn closed_by(record: &Record, all: &[Arc<Record>]) -> Option<Deadlock> {
    let behind = behind(record, all);
    if let Some(ring) = among_threads(record, all, &behind) {
        return Some(ring);
    }
    // Who waits at the gate is kept waiting by the thread that has passed it.
    if !record.gate.inside().contains(&record.thread) {
        return None;
    }
    among_processes(record, &behind)
}

/// Whether this process is the one of the ring that gives way: the one started last.
pub(crate) fn gives_way(ring: &Deadlock) -> bool {
    let age = |pid: u32| (inspect::start_time(pid), pid);
    let youngest = ring.steps.iter().map(|step| age(step.waiter.pid)).max();
    youngest == Some(age(std::process::id()))
}

/// The threads that cannot go on before this wait ends: the one that waits, and who waits
/// for what those threads keep.
fn behind(record: &Record, all: &[Arc<Record>]) -> HashSet<Owner> {
    let mut behind = HashSet::from([record.thread]);
    loop {
        let more: Vec<Owner> = all
            .iter()
            .filter(|other| !behind.contains(&other.thread))
            .filter(|other| {
                other
                    .gate
                    .inside()
                    .iter()
                    .any(|owner| behind.contains(owner))
            })
            .map(|other| other.thread)
            .collect();
        if more.is_empty() {
            return behind;
        }
        behind.extend(more);
    }
}

/// A ring of threads of this process only.
fn among_threads(
    record: &Record,
    all: &[Arc<Record>],
    behind: &HashSet<Owner>,
) -> Option<Deadlock> {
    let us = Process::of(std::process::id())?;
    let mut steps = Vec::new();
    let mut at = record;
    // Longer than there are waits, it would go in circles without us.
    for _ in 0..=all.len() {
        let inside = at.gate.inside();
        let keeper = inside
            .into_iter()
            .find(|owner| *owner != at.thread && behind.contains(owner))?;
        steps.push(Step {
            thread: Some(at.task.number()),
            waiter: us.clone(),
            place: at
                .gate
                .file()
                .and_then(|file| Place::of_open(file.as_fd()).ok())?,
            path: Some(at.name.path.clone()),
            kind: Kind::from(at.family),
            mode: at.mode,
            holder: us.clone(),
        });
        if keeper == record.thread {
            return Some(Deadlock {
                steps,
                certain: true,
            });
        }
        at = all.iter().find(|other| other.thread == keeper)?;
    }
    None
}

/// A ring through other processes, closed by the thread that waits in the kernel.
fn among_processes(record: &Record, behind: &HashSet<Owner>) -> Option<Deadlock> {
    let file = record.gate.file()?;
    let place = Place::of_open(file.as_fd()).ok()?;
    let us = std::process::id();
    let alone = inspect::has_one_thread(us);
    let keeps = |place: Place| alone || registry::kept_by(place, |owner| behind.contains(&owner));
    let kept = kept_for_us(us, &keeps);
    // Most programs hold nothing else: then nobody can be waiting for them.
    if kept.is_empty() {
        return None;
    }
    let snapshot = inspect::contended(&kept).ok()??;
    let mut ring = snapshot.deadlock_of(&Ours {
        pid: us,
        place,
        keeps: &keeps,
    })?;
    if let Some(first) = ring.steps.first_mut() {
        first.thread = Some(record.task.number());
        first.path = Some(record.name.path.clone());
    }
    Some(ring)
}

/// The files whose locks stay until our wait is over: ours, and those of the processes which
/// wait for our end.
fn kept_for_us(us: u32, keeps: &impl Fn(Place) -> bool) -> HashSet<Place> {
    let places = |pid: u32| {
        let locks = inspect::locks_of(pid).unwrap_or_default();
        locks.into_iter().map(|lock| lock.place)
    };
    let line = inspect::ancestors(us);
    let waiting = line
        .iter()
        .filter(|ancestor| inspect::waits_for_descendant(**ancestor, &line));
    let theirs = waiting.flat_map(|ancestor| places(*ancestor));
    places(us)
        .filter(|place| keeps(*place))
        .chain(theirs)
        .collect()
}
