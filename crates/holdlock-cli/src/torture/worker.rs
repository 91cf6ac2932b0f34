//! The worker processes, which this program starts of itself.

use std::ffi::OsString;
use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::{Builder, Scope};
use std::time::Duration;

use fastrand::Rng;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

use super::board::{Board, PARTICIPANTS, now};
use super::engine::Engine;
use super::fault::Fault;
use super::mark::Inside;
use super::mode::Mode;
use super::plan::Phase;
use super::rounds::{self, Beats, Cancelling, Locks, Taker};
use super::section::Me;
use super::tenure::{Broken, holder_after};
use crate::exit::{self, Failure, Outcome, warn};
use crate::sys::thread;

/// The hidden subcommand of all processes of a run.
pub(crate) const WORKER: &str = "__torture-worker";

/// What a process is, the next word: threads that use the library,
pub(super) const THREADS: &str = "threads";
/// a program that uses fcntl(2),
pub(super) const FCNTL: &str = "fcntl";
/// the command of flock(1),
pub(super) const INSIDE: &str = "inside";
/// the command of `holdlock run`,
pub(super) const BEAT: &str = "beat";
/// or a program that looks what it has inherited.
pub(super) const LOOK: &str = "look";

/// The signal that interrupts system calls.
const INTERRUPT: i32 = libc::SIGUSR1;

/// Every so many times, the disturber ends a hold at the engine.
const BREAKS: u32 = 40;

/// What a worker is told.
pub(super) struct Orders {
    /// The pid of the supervisor.
    pub(super) supervisor: u32,
    /// The number of the board's descriptor.
    pub(super) board: u32,
    /// Its first participant, and how many it has.
    pub(super) first: usize,
    pub(super) count: usize,
    pub(super) seed: u64,
    pub(super) fault: Option<Fault>,
    pub(super) directory: PathBuf,
}

impl Orders {
    /// In the order in which `parse` takes them.
    pub(super) fn words(&self) -> [OsString; 7] {
        [
            self.supervisor.to_string().into(),
            self.board.to_string().into(),
            self.first.to_string().into(),
            self.count.to_string().into(),
            self.seed.to_string().into(),
            self.fault.map_or("", Fault::name).into(),
            self.directory.clone().into(),
        ]
    }

    fn parse(words: &mut impl Iterator<Item = OsString>) -> Option<Orders> {
        Some(Orders {
            supervisor: value(words.next())?,
            board: value(words.next())?,
            first: value(words.next())?,
            count: value(words.next())?,
            seed: value(words.next())?,
            fault: Fault::named(words.next()?.to_str()?),
            directory: words.next()?.into(),
        })
    }
}

fn value<T: FromStr>(word: Option<OsString>) -> Option<T> {
    word?.to_str()?.parse().ok()
}

/// The whole life of a process that the supervisor, flock(1) or a worker starts.
pub(crate) fn work(mut words: impl Iterator<Item = OsString>) -> Outcome {
    let misused = || {
        Failure::usage(format!(
            "{WORKER} is for `holdlock torture` itself, which starts it"
        ))
    };
    let what = words.next().ok_or_else(misused)?;
    if what == LOOK {
        return Ok(rounds::look(&words.next().ok_or_else(misused)?));
    }
    if what == INSIDE {
        return inside(&mut words).ok_or_else(misused);
    }
    if what == BEAT {
        return beat(&mut words).ok_or_else(misused);
    }
    let orders = Orders::parse(&mut words).ok_or_else(misused)?;
    let failed = |error| Failure::system("a worker cannot start", error);
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| failed(error.into()))?;
    // The supervisor may have ended before.
    if getppid().is_none_or(|parent| parent.as_raw_pid() as u32 != orders.supervisor) {
        return Ok(exit::SUCCESS);
    }
    let board = Board::inherited(orders.board).map_err(failed)?;
    thread::interrupt_by(INTERRUPT).map_err(failed)?;
    if what == FCNTL {
        use_fcntl(&orders, board).map_err(failed)?;
    } else {
        use_library(&orders, board);
    }
    Ok(exit::SUCCESS)
}

/// Ends this worker, and thereby the run: the machine has run out of what the worker needs.
pub(super) fn give_up(board: &Board, why: &str) -> ! {
    // The message first: then it is written when another worker leaves without one, whatever is
    // killed meanwhile.
    if board.shortage.load(Ordering::SeqCst) == 0 {
        warn(why);
        board.shortage.store(1, Ordering::SeqCst);
    }
    thread::leave(exit::OS_ERROR.into())
}

/// A thread of a worker, and the place of its cancel token.
fn taker(orders: &Orders, board: &'static Board, number: usize) -> Taker {
    let id = orders.first + number;
    let me = Me::new(board, id, std::process::id(), thread::id());
    let incarnation = u64::from(me.incarnation);
    Taker {
        me,
        random: Rng::with_seed(orders.seed ^ (id as u64) << 48 ^ incarnation << 24),
        directory: orders.directory.clone(),
        common: None,
        own: Locks::default(),
        cancelling: Cancelling::default(),
        fault: orders.fault,
        engine: Engine::inherited(&orders.directory),
        supervisor: orders.supervisor,
        board: orders.board,
    }
}

/// Half of the threads share the locks of the process, the others have their own.
fn use_library(orders: &Orders, board: &'static Board) {
    let common = Arc::new(Locks::default());
    let places: Vec<Cancelling> = (0..orders.count).map(|_| Cancelling::default()).collect();
    std::thread::scope(|scope| {
        for (number, place) in places.iter().enumerate() {
            let common = common.clone();
            start(board, scope, move || {
                let mut taker = taker(orders, board, number);
                taker.common = (number % 2 == 0).then_some(common);
                taker.cancelling = place.clone();
                while let Some(phase) = next_phase(board) {
                    let mode = phase.pick(&mut taker.random);
                    rounds::round(&mut taker, mode);
                }
            });
        }
        start(board, scope, || disturb(orders, board, &places));
    });
}

fn start<'s>(board: &Board, scope: &'s Scope<'s, '_>, work: impl FnOnce() + Send + 's) {
    if let Err(error) = Builder::new().spawn_scoped(scope, work) {
        let why = format!("a worker cannot start a thread: {}", exit::reason(&error));
        give_up(board, &why);
    }
}

/// Cancels requests, and sends signals to threads. Not in the calm, in which a wait that nobody
/// ends must stay one.
fn disturb(orders: &Orders, board: &'static Board, places: &[Cancelling]) {
    let mut random = Rng::with_seed(orders.seed ^ now());
    let own = &board.participants[orders.first].disturber;
    own.store(thread::id() as u64, Ordering::SeqCst);
    let engine = Engine::inherited(&orders.directory);
    // A connection takes longer than a system call.
    let pause = match engine {
        None => 100..2000,
        Some(_) => 10_000..100_000,
    };
    while let Some(phase) = next_phase(board) {
        std::thread::sleep(Duration::from_micros(random.u64(pause.clone())));
        if let Some(engine) = &engine {
            if random.u32(..BREAKS) == 0 {
                end_a_hold(board, engine, random.usize(..PARTICIPANTS));
            }
            // A request that was cancelled queues at the end.
            if random.u32(..8) != 0 {
                continue;
            }
        }
        if phase.calm {
            continue;
        }
        let number = random.usize(..places.len());
        let words = &board.participants[orders.first + number];
        let mut place = places[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = place.take() {
            words.until.store(now(), Ordering::SeqCst);
            token.cancel();
        }
        drop(place);
        let thread = words.thread.load(Ordering::SeqCst) as i32;
        if thread != 0 && random.bool() {
            thread::signal(thread, INTERRUPT);
        }
    }
    // Nobody waits at the end for a lease that a killed worker has left.
    if engine.is_some() {
        while !places.iter().all(|place| Arc::strong_count(place) == 1) {
            for place in places {
                let token = place.lock().unwrap_or_else(PoisonError::into_inner).take();
                if let Some(token) = token {
                    token.cancel();
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Ends the hold of a participant, as an administrator may.
fn end_a_hold(board: &Board, engine: &Engine, from: usize) {
    // One that stays: others are gone before the engine is asked.
    let stays = |_| {
        let holder = holder_after(board, from);
        std::thread::sleep(Duration::from_millis(15));
        holder.filter(|holder| holder.is_inside(board))
    };
    let Some(holder) = (0..50).find_map(stays) else {
        return;
    };
    let words = &board.participants[holder.id];
    // Before it is done: from now on it may be. Once for each tenure.
    let word = Broken::Perhaps.word(holder.tenure);
    let before = words.broken.load(Ordering::SeqCst);
    let certainly = Broken::Certainly.word(holder.tenure);
    if [word, certainly].contains(&before)
        || words
            .broken
            .compare_exchange(before, word, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
    {
        return;
    }
    if engine.end(holder.mode, holder.token) {
        let _ = words
            .broken
            .compare_exchange(word, certainly, Ordering::SeqCst, Ordering::SeqCst);
        board.breaks.fetch_add(1, Ordering::SeqCst);
    }
}

/// What is tried now. None: the run is over.
fn next_phase(board: &Board) -> Option<Phase> {
    // After a finding everything stays as it is, until the supervisor kills the workers.
    while board.has_finding() {
        std::thread::sleep(Duration::from_millis(10));
    }
    (!board.is_ending()).then(|| Phase::of(board.phase.load(Ordering::Relaxed)))
}

/// A process with a single thread, which uses fcntl(2).
fn use_fcntl(orders: &Orders, board: &'static Board) -> std::io::Result<()> {
    let mode = Mode::Ofd;
    let mut taker = taker(orders, board, 0);
    let file = File::options()
        .read(true)
        .write(true)
        .open(mode.lock_file(&orders.directory))?;
    while let Some(phase) = next_phase(board) {
        if phase.modes.contains(&mode) {
            rounds::fcntl_round(&mut taker, mode, &file);
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// The command under `holdlock run`.
fn beat(words: &mut impl Iterator<Item = OsString>) -> Option<u8> {
    let board = Board::inherited(value(words.next())?).ok()?;
    let told = Beats {
        participant: value(words.next())?,
        number: value(words.next())?,
        beats: value(words.next())?,
    };
    rounds::beat(board, &told);
    Some(exit::SUCCESS)
}

/// The command under flock(1), which holds the lock for it: one section.
fn inside(words: &mut impl Iterator<Item = OsString>) -> Option<u8> {
    let board = Board::inherited(value(words.next())?).ok()?;
    let id = value(words.next())?;
    let mode = Mode::named(words.next()?.to_str()?)?;
    let inside = match words.next()?.to_str()? {
        "shared" => Inside::Shared,
        _ => Inside::Exclusive,
    };
    let me = Me::new(board, id, std::process::id(), thread::id());
    me.enter(mode, inside).leave();
    Some(exit::SUCCESS)
}
