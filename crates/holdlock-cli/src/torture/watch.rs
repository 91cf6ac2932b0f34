//! The checker of the waits: looks from time to time at what the participants do.
//!
//! No wait is a finding because of its length alone: on a busy machine a thread may get no
//! processor for seconds. A thread is called asleep when the kernel says so and has counted no
//! context switch of it since the last look; a woken thread that waits for a processor is not.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use holdlock::Family;
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;

use super::board::{Board, Doing, PARTICIPANTS, now};
use super::finding::{Finding, Kind};
use super::kernel::{self, Thread};
use super::mark::Mark;
use super::mode::Mode;
use super::place::Place;
use super::standstill::EngineWatch;

/// A wait of this length is looked at closely.
const LONG: Duration = Duration::from_millis(150);
/// How long a waiter must sleep, while nothing happens at its lock.
const STANDSTILL: Duration = Duration::from_millis(500);
/// For so long a lock must be held that no participant has: a child of a killed worker may still
/// have it for a moment.
const KEPT: Duration = Duration::from_secs(1);
/// The same if flock(1) may have it, for a command that is only starting.
const KEPT_BESIDE_FLOCK: Duration = Duration::from_secs(20);
/// How much later than its limit a request may end while its thread sleeps.
const LATE: Duration = Duration::from_secs(1);
/// The same over an engine, to which a request that ends says so.
const LATE_OVER_ENGINE: Duration = Duration::from_secs(10);
/// For so long a thread may sleep in its section, where it waits for a child at most.
const STUCK: Duration = Duration::from_secs(20);
/// How many entries of others a waiter of the slots may see: each other participant once, and those
/// that had asked but did not queue yet, with room for what threads may do before the kernel is
/// asked.
const PASSED: u64 = 300 + 4 * PARTICIPANTS as u64;
/// The same for a fair lock. Each time the place at the head changes hands, a newcomer may be
/// quicker than the waiter that is woken. On a machine with fourteen busy threads for two
/// processors up to 1 147 in a row were seen; a waiter that is never woken sees any number.
const PASSED_FAIR: u64 = 3_000;

/// What was seen of a participant.
#[derive(Clone, Copy)]
struct Look {
    doing: u64,
    since: Instant,
    asleep: Option<(Instant, Thread)>,
    /// Fair waiters: entries of the mode when it was asleep for the first time.
    entries: Option<u64>,
}

pub(super) struct Watch {
    board: &'static Board,
    directory: PathBuf,
    engine: Option<EngineWatch>,
    looks: Vec<Look>,
    /// The entries of each mode, and since when there were no more.
    entries: [(u64, Instant); Mode::ALL.len()],
    /// Since when a lock is held by no participant.
    kept: [Option<Instant>; Mode::ALL.len()],
}

/// What a lock is, as one who asks for it sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Probe {
    Free,
    Held,
}

impl Watch {
    pub(super) fn new(board: &'static Board, place: &Place) -> Watch {
        let now = Instant::now();
        let look = Look {
            doing: 0,
            since: now,
            asleep: None,
            entries: None,
        };
        Watch {
            board,
            directory: place.directory.clone(),
            engine: place.engine.as_ref().map(EngineWatch::new),
            looks: vec![look; PARTICIPANTS],
            entries: [(0, now); Mode::ALL.len()],
            kept: [None; Mode::ALL.len()],
        }
    }

    /// Looks at all participants. `pids` are the worker processes; `calm` tells that no process is
    /// disturbed; `others` that flock(1) may hold a lock, too.
    pub(super) fn look(&mut self, pids: &[u32], calm: bool, others: bool) {
        for id in 0..PARTICIPANTS {
            self.look_at(id, pids, calm);
        }
        for mode in Mode::ALL {
            let entries = self.board.mode(mode).entries.load(Ordering::SeqCst);
            let (last, since) = &mut self.entries[mode.index()];
            if *last != entries {
                (*last, *since) = (entries, Instant::now());
            }
            if self.engine.is_none() {
                self.standstill(mode, pids, others);
            }
        }
        if let Some(engine) = &mut self.engine {
            engine.look(self.board, calm);
        }
    }

    fn look_at(&mut self, id: usize, pids: &[u32], calm: bool) {
        let words = &self.board.participants[id];
        let doing = words.doing_now();
        let look = &mut self.looks[id];
        if look.doing != doing {
            *look = Look {
                doing,
                since: Instant::now(),
                asleep: None,
                entries: None,
            };
            return;
        }
        let (Doing::Waiting | Doing::Inside | Doing::Releasing, Some(mode)) = Doing::of(doing)
        else {
            return;
        };
        let waits = Doing::of(doing).0 == Doing::Waiting;
        let fair = waits && mode.is_fair() && self.engine.is_none();
        if !fair && look.since.elapsed() < LONG {
            return;
        }
        let place = [&words.pid, &words.thread].map(|word| word.load(Ordering::SeqCst) as u32);
        let thread = kernel::thread(place[0], place[1]);
        look.asleep = thread
            .filter(|thread| thread.is_asleep())
            .map(|thread| match look.asleep {
                Some((since, before)) if before == thread => (since, thread),
                _ => (Instant::now(), thread),
            });
        let look = *look;
        if fair {
            self.starved(mode, id, pids, calm);
        }
        let until = words.until.load(Ordering::SeqCst);
        let late = Duration::from_nanos(now().saturating_sub(until));
        let allowed = match self.engine {
            None => LATE,
            Some(_) => LATE_OVER_ENGINE,
        };
        if waits && until != 0 && late > allowed && slept(&look, STANDSTILL) {
            let text = format!("asleep {} ms after its limit", late.as_millis());
            self.find(Kind::Overdue, mode, id, text);
        }
        if !waits && slept(&look, STUCK) {
            let text = "a holder has not moved for 20 s".to_owned();
            self.find(Kind::Failed, mode, id, text);
        }
    }

    /// A fair waiter that is asleep is in the queue: from then on later requests may pass only by
    /// the gap that `PASSED_FAIR` names. Signals and stops make it queue again, so only the calm
    /// counts. A waiter that was served and gets no processor, or whose helper thread gets none, is
    /// not passed in the queue.
    fn starved(&mut self, mode: Mode, id: usize, pids: &[u32], calm: bool) {
        let entries = self.board.mode(mode).entries.load(Ordering::SeqCst);
        let look = self.looks[id];
        let is_asleep = look.asleep.is_some();
        self.looks[id].entries = look
            .entries
            .or(is_asleep.then_some(entries))
            .filter(|_| calm);
        let passed = entries - look.entries.unwrap_or(entries);
        let limit = match mode {
            Mode::Slots => PASSED,
            _ => PASSED_FAIR,
        };
        if passed > limit
            && calm
            && is_asleep
            && !is_at_work(self.board, pids)
            && self.board.participants[id].doing_now() == look.doing
        {
            let text = format!("{passed} others entered while it was in the queue");
            self.find(Kind::Starved, mode, id, text);
        }
    }

    /// Is nothing happening at a lock although participants wait for it?
    fn standstill(&mut self, mode: Mode, pids: &[u32], others: bool) {
        let waiters = self.all_asleep(mode);
        let since = self.entries[mode.index()].1;
        if waiters.is_empty() || since.elapsed() < STANDSTILL || is_at_work(self.board, pids) {
            self.kept[mode.index()] = None;
            return;
        }
        let waiter = waiters[0];
        let mut found = None;
        let probed = probe(mode, &self.directory, || {
            // While this process has the lock, nothing can have woken the waiter since.
            if self.all_asleep(mode) == waiters && self.is_still_asleep(waiter) {
                found = Some(Kind::LostWakeup);
            }
        });
        if probed == Some(Probe::Held) {
            let since = *self.kept[mode.index()].get_or_insert_with(Instant::now);
            let patience = if others { KEPT_BESIDE_FLOCK } else { KEPT };
            if since.elapsed() > patience {
                found = Some(Kind::Kept);
            }
        }
        let text = match found {
            Some(Kind::LostWakeup) => "asleep, and the kernel gave the lock to a newcomer",
            Some(Kind::Kept) => "all waiters are asleep, and the kernel refuses a newcomer",
            _ => return,
        };
        let kind = found.unwrap_or(Kind::Kept);
        self.find(kind, mode, waiter, text.to_owned());
    }

    /// The waiters of a mode, if all of them sleep and no participant has the lock.
    fn all_asleep(&self, mode: Mode) -> Vec<usize> {
        let mut waiters = Vec::new();
        for (id, look) in self.looks.iter().enumerate() {
            let words = &self.board.participants[id];
            let mark = Mark::of(self.board.marks[id].load(Ordering::SeqCst));
            let has_mark = mark.is_some_and(|mark| mark.mode == mode);
            let doing = words.doing_now();
            let until = words.until.load(Ordering::SeqCst);
            match Doing::of(doing) {
                _ if has_mark => return Vec::new(),
                (Doing::Nothing, _) => {}
                (_, other) if other != Some(mode) => {}
                // A request past its limit is looked at elsewhere.
                (Doing::Waiting, _) if until != 0 && until < now() => return Vec::new(),
                (Doing::Waiting, _) if doing == look.doing && slept(look, STANDSTILL) => {
                    waiters.push(id);
                }
                _ => return Vec::new(),
            }
        }
        waiters
    }

    fn is_still_asleep(&self, id: usize) -> bool {
        let words = &self.board.participants[id];
        let place = [&words.pid, &words.thread].map(|word| word.load(Ordering::SeqCst) as u32);
        let thread = kernel::thread(place[0], place[1]);
        let before = self.looks[id].asleep.map(|(_, thread)| thread);
        thread.is_some() && thread == before
    }

    fn find(&self, kind: Kind, mode: Mode, participant: usize, text: String) {
        self.board.find(&Finding {
            kind,
            mode,
            participant,
            other: None,
            at: now(),
            text,
        });
    }
}

fn slept(look: &Look, time: Duration) -> bool {
    look.asleep
        .is_some_and(|(since, _)| since.elapsed() >= time)
}

/// Whether a thread of the workers that is not known may be about to do something, as one that
/// waits on behalf of a participant.
fn is_at_work(board: &Board, pids: &[u32]) -> bool {
    let participants = board.participants.iter();
    let threads: Vec<u32> = participants
        .flat_map(|words| [&words.thread, &words.disturber])
        .map(|word| word.load(Ordering::SeqCst) as u32)
        .collect();
    pids.iter().any(|pid| kernel::is_at_work(*pid, &threads))
}

/// Asks the kernel for all locks of a mode, without waiting, and calls `with_locks` with them.
/// None: that cannot be asked.
fn probe(mode: Mode, directory: &Path, with_locks: impl FnOnce()) -> Option<Probe> {
    let operation = FlockOperation::NonBlockingLockExclusive;
    let mut held = Vec::new();
    for path in mode.lock_files(directory) {
        let file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            // Nobody has a file that is not there.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(_) => return None,
        };
        let locked = match mode.family() {
            Family::Flock => flock(&file, operation),
            // This process has no other lock on the file that the close could release.
            _ => fcntl_lock(&file, operation),
        };
        match locked {
            Ok(()) => held.push(file),
            Err(Errno::AGAIN | Errno::ACCESS) => return Some(Probe::Held),
            Err(_) => return None,
        }
    }
    with_locks();
    Some(Probe::Free)
}
