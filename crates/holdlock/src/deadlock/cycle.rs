//! Finds out whether a wait of this process can never end because it is part of a cycle.
//!
//! /proc shows which process waits for which. About its own threads this process knows more: which
//! thread is inside which gate by a guard that cannot move to another thread, and which waits have
//! no limit. Only these guards and waits are considered here, because a thread whose wait has a
//! limit continues by itself.
//!
//! A look takes time, and a busy host changes meanwhile. Therefore a cycle is certain only if all
//! its waits lasted: those of other processes slept from before the second look until after it, and
//! the caller checks that the waits of this process are still there.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use crate::Mode;
use crate::deadlock::wait_facts::WaitFacts;
use crate::gate::Inside;
use crate::gate::registry;
use crate::inspect::{self, Asleep, Deadlock, FileId, Graph, Heirs, Kind, OurWait, Ours, Process};
use crate::sys::published::WaitNote;

/// The result of a look at a wait.
pub(crate) enum Found {
    Nothing,
    /// There is a cycle, but a member of it may have a way out.
    Possible,
    /// There is a cycle, but another wait is its victim.
    OtherVictim,
    /// There is a cycle, which lasts as long as these waits. This wait is its victim.
    Certain(Deadlock, Vec<Arc<WaitFacts>>),
}

/// A wait to look at, and whether the victim of its cycle has had its time to end.
pub(crate) type Due = (Arc<WaitFacts>, bool);

/// Looks for cycles through the waits in `due`, which are some of `all`.
pub(crate) fn search(all: &[Arc<WaitFacts>], due: &[Due]) -> Vec<Found> {
    let (known, files) = with_files(one_of_a_thread(all));
    let mut found: Vec<Found> = due.iter().map(|_| Found::Nothing).collect();
    let Some(ours) = ours(&known, &files) else {
        return found;
    };
    let threads = Graph::of_threads(&ours);
    let mut left = Vec::new();
    for (at, (facts, victim_is_late)) in due.iter().enumerate() {
        let Some(number) = known.iter().position(|other| Arc::ptr_eq(other, facts)) else {
            continue;
        };
        match threads.cycle(number) {
            Some(cycle) if is_victim(facts, &cycle, &known, *victim_is_late) => {
                let (ours, _) = threads.depends_on(number);
                found[at] = Found::Certain(cycle, facts_of(&known, &ours));
            }
            Some(_) => found[at] = Found::OtherVictim,
            None => left.push((at, number, *victim_is_late)),
        }
    }
    let file_ids = kept_files(&ours);
    if !file_ids.is_empty() {
        among_processes(&ours, &known, &file_ids, &left, &mut found);
    }
    // The program may have a timer, and it is not known whether that ends a wait, and which one.
    if found.iter().any(|one| matches!(one, Found::Certain(..))) && inspect::we_have_a_timer() {
        for one in &mut found {
            if matches!(one, Found::Certain(..)) {
                *one = Found::Possible;
            }
        }
    }
    found
}

/// The note by which other processes know that this wait has no limit. None if this process does
/// anything else than this one wait. If the caller still finds the wait afterwards, the note is
/// true.
pub(crate) fn wait_without_limit(all: &[Arc<WaitFacts>]) -> Option<WaitNote> {
    let us = std::process::id();
    let [only] = all else {
        return None;
    };
    if !inspect::is_proc_ours() {
        return None;
    }
    let is_all = only.thread_id.number() == us && inspect::has_one_thread(us);
    let note = inspect::wait_without_limit(us).filter(|_| is_all)?;
    (!inspect::we_have_a_timer()).then_some(note)
}

/// The waits of the threads that have exactly one. A thread with two waits is in the callback of
/// one of them, where it may do anything.
fn one_of_a_thread(all: &[Arc<WaitFacts>]) -> Vec<Arc<WaitFacts>> {
    let mut waits = HashMap::new();
    for facts in all {
        *waits.entry(facts.occupant).or_insert(0) += 1;
    }
    let single = all.iter().filter(|facts| waits[&facts.occupant] == 1);
    single.cloned().collect()
}

/// The open file of a gate.
#[derive(Clone, Copy)]
struct GateFile {
    id: FileId,
    descriptor: Option<u32>,
}

/// These waits without those at gates that have no file, each with that file. A request that waits
/// for a lease has not opened the file yet, and other code may have closed the holder's descriptor.
/// Of what such a wait waits for nothing is known here: its thread counts as one that does not wait
/// and may release what it holds.
fn with_files(waits: Vec<Arc<WaitFacts>>) -> (Vec<Arc<WaitFacts>>, Vec<GateFile>) {
    let with_file = |facts: Arc<WaitFacts>| {
        let file = facts.gate.file().filter(|file| file.is_ours())?;
        let file = GateFile {
            id: FileId::of_open(file.as_fd()).ok()?,
            descriptor: u32::try_from(file.as_fd().as_raw_fd()).ok(),
        };
        Some((facts, file))
    };
    waits.into_iter().filter_map(with_file).unzip()
}

/// What is known of these waits without /proc/locks.
fn ours(known: &[Arc<WaitFacts>], files: &[GateFile]) -> Option<Ours> {
    if !inspect::is_proc_ours() {
        return None;
    }
    let us = std::process::id();
    let waits = known.iter().zip(files);
    let waits = waits.map(|(facts, file)| our_wait(facts, *file, known));
    Some(Ours {
        process: Process::of(us)?,
        alone: inspect::has_one_thread(us),
        waits: waits.collect(),
        keeps: keeps(known),
    })
}

fn our_wait(facts: &WaitFacts, file: GateFile, known: &[Arc<WaitFacts>]) -> OurWait {
    let inside = facts.gate.inside();
    let at_gate = if inside.occupants().contains(&facts.occupant) {
        None
    } else {
        // A shared request waits for a request before it in the queue, not for the shared holders.
        let shares = facts.mode == Mode::Shared && matches!(inside, Inside::Sharing(_));
        let numbers = 0..known.len();
        let is_inside = |number: &usize| inside.occupants().contains(&known[*number].occupant);
        Some(
            numbers
                .filter(|number| !shares && is_inside(number))
                .collect(),
        )
    };
    OurWait {
        thread: facts.thread_id.number(),
        file_id: file.id,
        path: facts.name.path.clone(),
        kind: Kind::from(facts.family),
        mode: facts.mode,
        descriptor: file.descriptor,
        at_gate,
    }
}

/// Which of the waiting threads hold locks by guards, by descriptor. A thread inside the gate for
/// which it waits does not hold that lock yet.
fn keeps(known: &[Arc<WaitFacts>]) -> HashMap<u32, Vec<usize>> {
    let mut keeps: HashMap<u32, Vec<usize>> = HashMap::new();
    for gate in registry::all() {
        let inside = gate.inside();
        for (number, facts) in known.iter().enumerate() {
            if inside.occupants().contains(&facts.occupant)
                && !Arc::ptr_eq(&facts.gate, &gate)
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

/// The files of the locks that are held as long as one of these threads waits. Most programs hold
/// no such lock: then no other process can be waiting for them.
fn kept_files(ours: &Ours) -> HashSet<FileId> {
    let us = ours.process.pid;
    let mut file_ids = HashSet::new();
    let mut add = |pid: u32| {
        let locks = inspect::locks_of(pid).unwrap_or_default();
        let kept = locks
            .into_iter()
            .filter(|lock| pid != us || ours.alone || ours.keeps.contains_key(&lock.descriptor));
        file_ids.extend(kept.map(|lock| lock.file_id));
    };
    if ours.alone {
        inspect::waiting_ancestors(us)
            .into_iter()
            .for_each(&mut add);
    }
    if ours.alone || !ours.keeps.is_empty() {
        add(us);
    }
    file_ids
}

/// Looks for cycles through other processes, or through locks that threads hold by several
/// descriptors.
fn among_processes(
    ours: &Ours,
    known: &[Arc<WaitFacts>],
    file_ids: &HashSet<FileId>,
    due: &[(usize, usize, bool)],
    found: &mut [Found],
) {
    if due.is_empty() {
        return;
    }
    let look = || inspect::contended(file_ids).ok().flatten();
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
    // Searching all processes for inherited locks is expensive: it comes last, when everything else
    // is certain.
    let heirs = Heirs::not_searched(snapshot.clone());
    let first = Graph::of_certain(&heirs, Some(ours), &numbers(&due));
    due.retain(|(at, number, victim_is_late)| match first.cycle(*number) {
        Some(cycle) if is_victim(&known[*number], &cycle, known, *victim_is_late) => true,
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
            found[at] = Found::Certain(cycle, facts_of(known, &ours));
        }
    }
}

fn numbers(due: &[(usize, usize, bool)]) -> Vec<usize> {
    due.iter().map(|(_, number, _)| *number).collect()
}

fn facts_of(known: &[Arc<WaitFacts>], numbers: &[usize]) -> Vec<Arc<WaitFacts>> {
    let chosen = numbers.iter().map(|number| known[*number].clone());
    chosen.collect()
}

/// Whether this wait is the victim, which ends so that the other members of the cycle can go on.
/// The victim is the latest wait of the process that was started last. If that process had its time
/// and did not end its wait, it is the latest wait of this process.
fn is_victim(
    facts: &WaitFacts,
    cycle: &Deadlock,
    known: &[Arc<WaitFacts>],
    victim_is_late: bool,
) -> bool {
    let us = std::process::id();
    let age = |pid: u32| (inspect::start_time(pid), pid);
    let youngest = cycle.steps.iter().map(|step| age(step.waiter.pid)).max();
    let is_step = |other: &&Arc<WaitFacts>| {
        let thread = Some(other.thread_id.number());
        let mut steps = cycle.steps.iter();
        steps.any(|step| step.waiter.pid == us && step.thread == thread)
    };
    let latest = known
        .iter()
        .filter(is_step)
        .map(|member| member.began)
        .max();
    (victim_is_late || youngest == Some(age(us))) && latest == Some(facts.began)
}
