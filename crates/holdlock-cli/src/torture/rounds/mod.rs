//! One round of a participant: a request, and the section if it gets the lock.
//!
//! Each kind of round is a file here. A mode chooses among them in `round`.

mod acts;
mod convert;
mod faults;
mod fcntl;
mod flock;
mod job;
mod limit;
mod lock;
mod record;
mod register;
mod rewrite;
mod set;
mod slots;
mod tenured;
mod upgrade;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fastrand::Rng;
use holdlock::{CancelToken, Error, FileLock, Semaphore};

use super::engine::Engine;
use super::fault::Fault;
use super::finding::Kind;
use super::held::Lock;
use super::mark::Inside;
use super::mode::Mode;
use super::section::Me;
use super::worker;

/// The place where a thread puts the token of its request, so that another thread can cancel it.
pub(super) type Cancelling = Arc<Mutex<Option<CancelToken>>>;

/// A thread that takes locks.
pub(super) struct Taker {
    pub(super) me: Me,
    pub(super) random: Rng,
    pub(super) directory: PathBuf,
    /// The locks of the process, which other threads use, too. None: the thread opens its own.
    pub(super) common: Option<Arc<Locks>>,
    pub(super) own: Locks,
    pub(super) cancelling: Cancelling,
    pub(super) fault: Option<Fault>,
    /// The engine of the run. None: its locks are files.
    pub(super) engine: Option<Engine>,
    /// The pid of the supervisor, and the number of the board's descriptor.
    pub(super) supervisor: u32,
    pub(super) board: u32,
}

/// The open locks, by mode and by their number in the mode.
#[derive(Default)]
pub(super) struct Locks {
    files: Mutex<HashMap<(usize, usize), FileLock>>,
    semaphore: Mutex<Option<Semaphore>>,
    either: Mutex<HashMap<usize, Lock>>,
}

impl Locks {
    fn get(&self, directory: &Path, mode: Mode, member: usize) -> Result<FileLock, Error> {
        let mut locks = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match locks.entry((mode.index(), member)) {
            Entry::Occupied(lock) => lock.get().clone(),
            Entry::Vacant(place) => place.insert(mode.open(directory, member)?).clone(),
        })
    }

    /// The lock of a mode, of a file or of an engine.
    fn either(
        &self,
        engine: Option<&Engine>,
        directory: &Path,
        mode: Mode,
    ) -> Result<Lock, (String, Option<i32>)> {
        let mut locks = self.either.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match locks.entry(mode.index()) {
            Entry::Occupied(lock) => lock.get().clone(),
            Entry::Vacant(place) => place.insert(Lock::open(engine, directory, mode)?).clone(),
        })
    }

    fn semaphore(&self, directory: &Path) -> Result<Semaphore, Error> {
        let mut semaphore = self
            .semaphore
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(semaphore) = &*semaphore {
            return Ok(semaphore.clone());
        }
        Ok(semaphore.insert(Mode::open_slots(directory)?).clone())
    }
}

/// Whether the machine has run out of open files, memory, or space on the disk.
fn is_shortage(number: i32) -> bool {
    use libc::{EDQUOT, EMFILE, ENFILE, ENOMEM, ENOSPC};
    [EMFILE, ENFILE, ENOMEM, ENOSPC, EDQUOT].contains(&number)
}

/// Makes one request in this mode.
pub(super) fn round(taker: &mut Taker, mode: Mode) {
    if taker.engine.is_some() || mode.is_common() {
        return tenured::round(taker, mode);
    }
    if taker.fault.is_some() && faults::round(taker, mode) {
        return;
    }
    match mode {
        Mode::Record => record::round(taker, mode),
        Mode::Set => set::round(taker, mode),
        Mode::Slots => slots::round(taker, mode),
        Mode::Upgrade => upgrade::round(taker, mode),
        _ if mode.has_flock_partners() && taker.random.u32(..16) == 0 => flock::round(taker, mode),
        _ => lock::round(taker, mode),
    }
}

pub(super) use acts::look;
pub(super) use fcntl::round as fcntl_round;
pub(super) use job::{Beats, beat};

impl Taker {
    /// The lock of a mode. None: it cannot be opened, which is a finding.
    fn lock(&self, mode: Mode) -> Option<FileLock> {
        self.member(mode, 0)
    }

    /// The same of a mode with several locks.
    fn member(&self, mode: Mode, member: usize) -> Option<FileLock> {
        let locks = self.common.as_deref().unwrap_or(&self.own);
        let lock = locks.get(&self.directory, mode, member);
        lock.inspect_err(|error| self.failed(mode, error.to_string(), error.raw_os_error()))
            .ok()
    }

    /// The semaphore, in the same way.
    fn semaphore(&self, mode: Mode) -> Option<Semaphore> {
        let locks = self.common.as_deref().unwrap_or(&self.own);
        let semaphore = locks.semaphore(&self.directory);
        semaphore
            .inspect_err(|error| self.failed(mode, error.to_string(), error.raw_os_error()))
            .ok()
    }

    /// A request has failed, with this number of the operating system. That is a finding, unless
    /// the machine has run out of something.
    fn failed(&self, mode: Mode, text: String, number: Option<i32>) {
        if number.is_some_and(is_shortage) {
            worker::give_up(self.me.board, &text);
        }
        self.me.find(Kind::Failed, mode, None, text);
    }

    fn inside(&mut self, mode: Mode) -> Inside {
        if mode.shares() && self.random.bool() {
            Inside::Shared
        } else {
            Inside::Exclusive
        }
    }

    /// Whether a fault strikes in this round.
    fn strikes(&mut self, fault: Fault) -> bool {
        // An engine serves fewer rounds in the same time.
        let rounds = if self.engine.is_some() { 8 } else { 32 };
        self.fault == Some(fault) && self.random.u32(..rounds) == 0
    }

    /// Stays inside, mostly for an instant.
    fn linger(&mut self) {
        match self.random.u32(..32) {
            0 => std::thread::yield_now(),
            1..4 => (0..self.random.u32(..400)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}
