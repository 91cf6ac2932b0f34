//! Whether a wait of this process can never end, because it closes a ring.
//!
//! Between processes the ring goes through the kernel's lock table. Within this process more is
//! known than the kernel tells: which thread is inside which gate, by a guard that cannot
//! leave the thread. Only such a lock is certainly kept for as long as the thread waits; what
//! another thread holds, it may release.

use std::cell::OnceCell;
use std::collections::HashSet;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::gate::Owner;
use crate::inspect::{self, Deadlock, Kind, Ours, Place, Process, Snapshot, Step};
use crate::registry;
use crate::sentinel::Record;

/// One look at the waits of this process. What they have in common is looked up once.
pub(crate) struct Round<'r> {
    all: &'r [Arc<Record>],
    us: u32,
    /// Whether all of this process is one thread, which waits.
    alone: bool,
    kept_by_us: HashSet<Place>,
    kept_by_ancestors: HashSet<Place>,
    /// The files for which somebody waits, once that is asked for.
    contended: OnceCell<Option<Snapshot>>,
}

impl<'r> Round<'r> {
    pub(crate) fn new(all: &'r [Arc<Record>]) -> Round<'r> {
        let us = std::process::id();
        let places = |pid: u32| {
            let locks = inspect::locks_of(pid).unwrap_or_default();
            locks.into_iter().map(|lock| lock.place)
        };
        let ancestors = inspect::waiting_ancestors(us);
        Round {
            all,
            us,
            alone: inspect::has_one_thread(us),
            kept_by_us: places(us).collect(),
            kept_by_ancestors: ancestors.into_iter().flat_map(places).collect(),
            contended: OnceCell::new(),
        }
    }

    /// The ring that this wait closes, if it does.
    pub(crate) fn closed_by(&self, record: &Record) -> Option<Deadlock> {
        // Who waits at the gate is kept waiting by the thread that has passed it.
        if record.gate.inside().contains(&record.thread) {
            self.among_processes(record)
        } else {
            self.among_threads(record)
        }
    }

    /// The threads that cannot go on before this wait ends: the one that waits, and who waits
    /// for what those threads keep.
    fn behind(&self, record: &Record) -> HashSet<Owner> {
        let mut behind = HashSet::from([record.thread]);
        loop {
            let others = self.all.iter().filter(|o| !behind.contains(&o.thread));
            let more: Vec<Owner> = others
                .filter(|other| other.gate.inside().iter().any(|o| behind.contains(o)))
                .map(|other| other.thread)
                .collect();
            if more.is_empty() {
                return behind;
            }
            behind.extend(more);
        }
    }

    /// A ring of threads of this process only.
    fn among_threads(&self, record: &Record) -> Option<Deadlock> {
        let behind = self.behind(record);
        let mut steps = Vec::new();
        let mut at = record;
        // Longer than there are waits, it would go in circles without us.
        for _ in 0..=self.all.len() {
            let mut inside = at.gate.inside().into_iter();
            let keeper = inside.find(|owner| behind.contains(owner))?;
            steps.push(self.step(at)?);
            if keeper == record.thread {
                return Some(Deadlock {
                    steps,
                    certain: true,
                });
            }
            at = self.all.iter().find(|other| other.thread == keeper)?;
        }
        None
    }

    fn step(&self, record: &Record) -> Option<Step> {
        let us = Process::of(self.us)?;
        Some(Step {
            thread: Some(record.task.number()),
            waiter: us.clone(),
            place: Place::of_open(record.gate.file()?.as_fd()).ok()?,
            path: Some(record.name.path.clone()),
            kind: Kind::from(record.family),
            mode: record.mode,
            holder: us,
        })
    }

    /// A ring through other processes, closed by the thread that waits in the kernel.
    fn among_processes(&self, record: &Record) -> Option<Deadlock> {
        // Most programs hold nothing else: then nobody can be waiting for them.
        if self.kept_by_us.is_empty() && self.kept_by_ancestors.is_empty() {
            return None;
        }
        let behind = self.behind(record);
        let keeps =
            |place: Place| self.alone || registry::kept_by(place, |owner| behind.contains(&owner));
        if self.kept_by_ancestors.is_empty() && !self.kept_by_us.iter().any(|place| keeps(*place)) {
            return None;
        }
        let mut ring = self.contended()?.deadlock_of(&Ours {
            pid: self.us,
            place: Place::of_open(record.gate.file()?.as_fd()).ok()?,
            keeps: &keeps,
        })?;
        if let Some(first) = ring.steps.first_mut() {
            first.thread = Some(record.task.number());
            first.path = Some(record.name.path.clone());
        }
        Some(ring)
    }

    fn contended(&self) -> Option<&Snapshot> {
        let look = || {
            let kept = self.kept_by_us.union(&self.kept_by_ancestors);
            inspect::contended(&kept.copied().collect()).ok().flatten()
        };
        self.contended.get_or_init(look).as_ref()
    }
}

/// Whether this process is the one of the ring that gives way: the one started last.
pub(crate) fn gives_way(ring: &Deadlock) -> bool {
    let age = |pid: u32| (inspect::start_time(pid), pid);
    let youngest = ring.steps.iter().map(|step| age(step.waiter.pid)).max();
    youngest == Some(age(std::process::id()))
}
