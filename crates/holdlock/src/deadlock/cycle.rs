//! Whether a wait of this process can never end, because it closes a cycle.
//!
//! Of other processes /proc tells who waits for whom. Of this one more is known: which thread is
//! inside which gate, by a guard that cannot leave the thread, and which of their waits have no
//! limit. Only those are looked at here: a thread whose wait has a limit goes on by itself.
//!
//! A look takes time, and a busy host changes meanwhile. What is said for certain depends only on
//! waits that lasted: those of other processes slept from before the second look until after it,
//! and the caller looks whether those of ours are still there.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use crate::Mode;
use crate::deadlock::watcher::Record;
use crate::gate::Inside;
use crate::gate::registry;
use crate::inspect::{self, Asleep, Deadlock, Graph, Heirs, Kind, OurWait, Ours, Place, Process};

/// What a look at a wait has found.
pub(crate) enum Found {
    Nothing,
    /// A cycle, but somebody in it may have a way out.
    Possible,
    /// A cycle in which another wait is to give way.
    OtherVictim,
    /// A cycle that lasts for as long as these waits do.
    Certain(Deadlock, Vec<Arc<Record>>),
}

/// A wait that is looked at, and whether another one of its cycle had its time to give way.
pub(crate) type Due = (Arc<Record>, bool);

/// Looks for cycles through those waits of `all` that are `due`.
pub(crate) fn search(all: &[Arc<Record>], due: &[Due]) -> Vec<Found> {
    let records = one_of_a_thread(all);
    let mut found: Vec<Found> = due.iter().map(|_| Found::Nothing).collect();
    let Some(ours) = ours(&records) else {
        return found;
    };
    let threads = Graph::of_threads(&ours);
    let mut left = Vec::new();
    for (at, (record, victim_is_late)) in due.iter().enumerate() {
        let Some(number) = records.iter().position(|other| Arc::ptr_eq(other, record)) else {
            continue;
        };
        match threads.cycle(number) {
            Some(cycle) if is_victim(record, &cycle, &records, *victim_is_late) => {
                let (ours, _) = threads.depends_on(number);
                found[at] = Found::Certain(cycle, records_of(&records, &ours));
            }
            Some(_) => found[at] = Found::OtherVictim,
            None => left.push((at, number, *victim_is_late)),
        }
    }
    let places = kept_files(&ours);
    if !places.is_empty() {
        among_processes(&ours, &records, &places, &left, &mut found);
    }
    // Which wait a timer of the host's ends, and whether it will, is not known.
    if found.iter().any(|one| matches!(one, Found::Certain(..))) && inspect::we_have_a_timer() {
        for one in &mut found {
            if matches!(one, Found::Certain(..)) {
                *one = Found::Possible;
            }
        }
    }
    found
}

/// What to call the helper thread, so that other processes know that our wait has no limit: if that
/// is so of all that we do. True if the wait is still there now.
pub(crate) fn mark(all: &[Arc<Record>]) -> Option<String> {
    let us = std::process::id();
    let [only] = all else {
        return None;
    };
    if !inspect::is_proc_ours() {
        return None;
    }
    let is_all = only.task.number() == us && inspect::has_one_thread(us);
    let mark = inspect::mark(us).filter(|_| is_all)?;
    (!inspect::we_have_a_timer()).then_some(mark)
}

/// The waits of those threads that have just one. In another one's callback a thread may do
/// anything.
fn one_of_a_thread(all: &[Arc<Record>]) -> Vec<Arc<Record>> {
    let mut waits = HashMap::new();
    for record in all {
        *waits.entry(record.thread).or_insert(0) += 1;
    }
    let single = all.iter().filter(|record| waits[&record.thread] == 1);
    single.cloned().collect()
}

/// What is known of these waits without a look at /proc/locks.
fn ours(records: &[Arc<Record>]) -> Option<Ours> {
    if !inspect::is_proc_ours() {
        return None;
    }
    let us = std::process::id();
    let waits = records.iter().map(|record| our_wait(record, records));
    Some(Ours {
        process: Process::of(us)?,
        alone: inspect::has_one_thread(us),
        waits: waits.collect::<Option<Vec<OurWait>>>()?,
        keeps: keeps(records),
    })
}

fn our_wait(record: &Record, records: &[Arc<Record>]) -> Option<OurWait> {
    let file = record.gate.file().filter(|file| file.is_ours())?;
    let inside = record.gate.inside();
    let at_gate = if inside.occupants().contains(&record.thread) {
        None
    } else {
        // A shared request does not wait for shared holders, but for somebody in the queue before it.
        let shares = record.mode == Mode::Shared && matches!(inside, Inside::Sharing(_));
        let numbers = 0..records.len();
        let is_inside = |number: &usize| inside.occupants().contains(&records[*number].thread);
        Some(
            numbers
                .filter(|number| !shares && is_inside(number))
                .collect(),
        )
    };
    Some(OurWait {
        thread: record.task.number(),
        place: Place::of_open(file.as_fd()).ok()?,
        path: record.name.path.clone(),
        kind: Kind::from(record.family),
        mode: record.mode,
        descriptor: u32::try_from(file.as_fd().as_raw_fd()).ok(),
        at_gate,
    })
}

/// Which threads that wait have a lock by a guard. One that is inside the gate for which it waits has
/// none yet.
fn keeps(records: &[Arc<Record>]) -> HashMap<u32, Vec<usize>> {
    let mut keeps: HashMap<u32, Vec<usize>> = HashMap::new();
    for gate in registry::all() {
        let inside = gate.inside();
        for (number, record) in records.iter().enumerate() {
            if inside.occupants().contains(&record.thread)
                && !Arc::ptr_eq(&record.gate, &gate)
                && let Some(file) = gate.file()
                && file.is_ours()
                && let Ok(descriptor) = u32::try_from(file.as_fd().as_raw_fd())
            {
                keeps.entry(descriptor).or_default().push(number);
            }
        }
    }
    keeps
}

/// The files of locks that are kept for as long as one of our threads waits. Most programs have
/// none: then nobody can be waiting for them.
fn kept_files(ours: &Ours) -> HashSet<Place> {
    let us = ours.process.pid;
    let mut places = HashSet::new();
    let mut add = |pid: u32| {
        let locks = inspect::locks_of(pid).unwrap_or_default();
        let kept = locks
            .into_iter()
            .filter(|lock| pid != us || ours.alone || ours.keeps.contains_key(&lock.descriptor));
        places.extend(kept.map(|lock| lock.place));
    };
    if ours.alone {
        inspect::waiting_ancestors(us)
            .into_iter()
            .for_each(&mut add);
    }
    if ours.alone || !ours.keeps.is_empty() {
        add(us);
    }
    places
}

/// Cycles through other processes, or through locks that threads have by several descriptors.
fn among_processes(
    ours: &Ours,
    records: &[Arc<Record>],
    places: &HashSet<Place>,
    due: &[(usize, usize, bool)],
    found: &mut [Found],
) {
    let look = || inspect::contended(places).ok().flatten();
    let Some(snapshot) = look() else {
        return;
    };
    let possible = Graph::of_possible(&snapshot, Some(ours));
    let mut due = due.to_vec();
    due.retain(|(_, number, _)| possible.cycle(*number).is_some());
    for (at, ..) in &due {
        found[*at] = Found::Possible;
    }
    if due.is_empty() {
        return;
    }
    // Who has inherited a lock is looked for, among all processes, only once all else is certain.
    let heirs = Heirs::not_searched(snapshot.clone());
    let first = Graph::of_certain(&heirs, Some(ours), &numbers(&due));
    due.retain(|(at, number, victim_is_late)| match first.cycle(*number) {
        Some(cycle) if is_victim(&records[*number], &cycle, records, *victim_is_late) => true,
        Some(_) => {
            found[*at] = Found::OtherVictim;
            false
        }
        None => false,
    });
    if due.is_empty() {
        return;
    }
    let others = due
        .iter()
        .flat_map(|(_, number, _)| first.depends_on(*number).1);
    let asleep = others.filter_map(|pid| Some((pid, Asleep::of(pid)?)));
    let asleep: HashMap<u32, Asleep> = asleep.collect();
    let Some(heirs) = look().as_ref().map(Heirs::of_contended) else {
        return;
    };
    let second = Graph::of_certain(&heirs, Some(ours), &numbers(&due));
    for (at, number, _) in due {
        let Some(cycle) = second.cycle(number) else {
            continue;
        };
        let (ours, others) = second.depends_on(number);
        let has_slept = |pid: &u32| {
            asleep
                .get(pid)
                .is_some_and(|before| Asleep::of(*pid).as_ref() == Some(before))
        };
        if others.iter().all(has_slept) {
            found[at] = Found::Certain(cycle, records_of(records, &ours));
        }
    }
}

fn numbers(due: &[(usize, usize, bool)]) -> Vec<usize> {
    due.iter().map(|(_, number, _)| *number).collect()
}

fn records_of(records: &[Arc<Record>], numbers: &[usize]) -> Vec<Arc<Record>> {
    let chosen = numbers.iter().map(|number| records[*number].clone());
    chosen.collect()
}

/// Whether this wait is the one of the cycle that gives way: the latest of the process that was
/// started last; or of ours, if that one had its time and has not.
fn is_victim(
    record: &Record,
    cycle: &Deadlock,
    records: &[Arc<Record>],
    victim_is_late: bool,
) -> bool {
    let us = std::process::id();
    let age = |pid: u32| (inspect::start_time(pid), pid);
    let youngest = cycle.steps.iter().map(|step| age(step.waiter.pid)).max();
    let is_step = |other: &&Arc<Record>| {
        let thread = Some(other.task.number());
        let mut steps = cycle.steps.iter();
        steps.any(|step| step.waiter.pid == us && step.thread == thread)
    };
    let latest = records
        .iter()
        .filter(is_step)
        .map(|member| member.began)
        .max();
    (victim_is_late || youngest == Some(age(us))) && latest == Some(record.began)
}
