//! From a request to a slot.
//!
//! While no request waits, a request passes the head of the queue together with others, and takes
//! the first slot that is free. If none is free, or anything else is in its way, it gives back what
//! it has acquired, and queues:
//!
//! 1. The request waits until it is at the head of the queue. Only the request at the head does
//!    what follows, and no request passes the head meanwhile.
//! 2. It takes the shared lock of flock(2), which excludes the exclusive users of the file.
//! 3. It checks that no holder uses another number of slots, and publishes the number that it uses.
//! 4. It takes a free slot, or waits until one is free, and leaves the head.
//! 5. It looks whether the locked file is still at the path, and starts over if it is not.
//!
//! Requests that pass the head do not see all slots at one moment: a slot may become free after a
//! request has looked at it, while another request takes the next one. At the head no other request
//! takes a slot, so that "all slots are taken" is true for one moment. Therefore a request that
//! must not wait queues as well before it fails.
//!
//! Requests that pass publish their number of slots first and then look for others. Of two that use
//! different numbers at least one sees the other, and queues.
//!
//! A request that ends early gives back all locks that it has acquired.

use std::cell::Cell;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Semaphore;
use super::any_slot::{self, Acquired};
use super::guard::{Slot, unlock_all};
use crate::acquire::open::LockFile;
use crate::acquire::turn::Turn;
use crate::bytes::{MAX_SLOTS, Range};
use crate::gate::{Occupant, held_slots, registry};
use crate::request::Terms;
use crate::sys::file_lock::Blocking;
use crate::sys::file_system;
use crate::sys::identity::Identity;
use crate::wait::callback::Key;
use crate::wait::{Awaited, KernelError, KernelWait, Stop, Wait, Watched, helper_thread};
use crate::{Conflict, Error, Family, FileLock, Mode};

/// For how long a request that must not wait looks again while a slot is free, but another request
/// passes the head: on a busy machine that one may have to wait for a processor.
const PASSING: Duration = Duration::from_millis(500);
/// How many rounds of looks it makes at least: beside many busy threads one round may last
/// longer.
const ROUNDS_OF_LOOKS: u32 = 3;

/// Why an attempt ended without a slot.
enum Failed {
    /// The file was replaced, its descriptor was closed by other code, or the request has given way
    /// to a lock of the whole file.
    StartOver,
    Error(Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Error(error)
    }
}

impl Semaphore {
    /// Takes a slot for `occupant`.
    pub(super) fn take(&self, terms: Terms<'_>, occupant: Occupant) -> Result<Slot, Error> {
        if terms.mode == Mode::Shared {
            return Err(self.lock.system(
                "acquiring a slot",
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "a slot has one holder and cannot be shared; make an exclusive request",
                ),
            ));
        }
        let terms = Terms {
            // The watcher knows of locks that one holder can release, not of N slots.
            may_wait_for_ever: false,
            ..terms
        };
        let awaited = AwaitedSlot {
            lock: &self.lock,
            file: Cell::new(None),
        };
        let mut wait = Wait::new(terms, &awaited);
        let taken = self.take_from_a_file(&awaited, occupant, &mut wait);
        wait.resume_callback_panic(taken, drop)
    }

    fn take_from_a_file(
        &self,
        awaited: &AwaitedSlot<'_>,
        occupant: Occupant,
        wait: &mut Wait<'_>,
    ) -> Result<Slot, Error> {
        loop {
            let file = Arc::new(self.lock.open_or_create(Mode::Exclusive, wait)?);
            awaited.file.set(Some(file.identity()));
            match self.lock_slot(&file, wait) {
                Ok(acquired) if file.is_intact() => {
                    return Ok(Slot::new(self.lock.clone(), file, acquired, occupant));
                }
                Ok(_) => drop(unlock_all(&file)),
                Err(failed) => {
                    let _ = unlock_all(&file);
                    if let Failed::Error(error) = failed {
                        return Err(error);
                    }
                }
            }
            wait.before_retry()
                .map_err(|stop| self.lock.stopped(stop, Mode::Exclusive, wait, None))?;
        }
    }

    /// The way to a slot, on one page. The caller unlocks everything if it fails.
    fn lock_slot(&self, file: &Arc<LockFile>, wait: &mut Wait<'_>) -> Result<Acquired, Failed> {
        if let Some(slot) = self.take_in_passing(file) {
            return Ok((slot, None));
        }
        let mut turn = self.wait_for_turn(file, wait)?;
        self.share_with_flock(file, &mut turn, wait)?;
        self.check_count(file, wait)?;
        self.publish_count(file)
            .map_err(|error| self.failed(file, wait, KernelError::Io(error)))?;
        let own = || self.waits_for_itself(file);
        any_slot::lock(&self.lock, file, self.slots, turn, wait, own).map_err(|error| match error {
            KernelError::Stop(stop) => self.all_taken(file, wait, stop),
            error => self.failed(file, wait, error),
        })
    }

    /// Takes a slot if no request is in the queue and nothing is in the way. Otherwise holds
    /// nothing afterwards; the request at the head finds out why.
    fn take_in_passing(&self, file: &Arc<LockFile>) -> Option<u32> {
        let _turn = Turn::pass(file).ok()??;
        let take = || {
            file.lock(Family::Flock, Mode::Shared, Blocking::No).ok()?;
            self.publish_count(file).ok()?;
            let slots = match self.other_count(file) {
                Ok(None) => self.slots,
                _ => return None,
            };
            any_slot::try_all(file, slots).ok()?
        };
        let taken = take();
        if taken.is_none() {
            let _ = unlock_all(file);
        }
        taken
    }

    fn publish_count(&self, file: &LockFile) -> io::Result<()> {
        let count = Range::slot_count(self.slots);
        file.lock_bytes(Mode::Shared, count, Blocking::No)
    }

    /// Fails if others use another number of slots.
    fn check_count(&self, file: &LockFile, wait: &Wait<'_>) -> Result<(), Failed> {
        match self.other_count(file) {
            Ok(None) => Ok(()),
            Ok(Some(in_use)) => Err(Failed::Error(Error::DifferentSlots {
                conflict: self.conflict(file, wait),
                slots: self.slots,
                in_use,
            })),
            Err(error) => Err(self.failed(file, wait, KernelError::Io(error))),
        }
    }

    /// Another number of slots that others use.
    fn other_count(&self, file: &LockFile) -> io::Result<Option<u32>> {
        let ours = Range::slot_count(self.slots).start;
        let all = Range::SLOT_COUNTS;
        let below = Range {
            start: all.start,
            end: Some(ours - 1),
        };
        let above = Range {
            start: ours + 1,
            end: Some(all.start + u64::from(MAX_SLOTS)),
        };
        for others in [below, above] {
            if others.end >= Some(others.start)
                && let Some(found) = file.locked_by_others(others)?
                && let Some(in_use) = found.as_slot_count()
            {
                return Ok(Some(in_use));
            }
        }
        Ok(None)
    }

    fn wait_for_turn(&self, file: &Arc<LockFile>, wait: &mut Wait<'_>) -> Result<Turn, Failed> {
        if let Ok(Some(turn)) = Turn::at_once(file, Range::QUEUE) {
            return Ok(turn);
        }
        // Tell a caller with another number now, and not only when it is at the head.
        self.check_count(file, wait)?;
        let own = |_| self.waits_for_itself(file);
        let (began, mut rounds) = (Instant::now(), 0);
        loop {
            rounds += 1;
            match Turn::acquire(file, Range::QUEUE, Mode::Exclusive, wait, own) {
                Ok(Some(turn)) => return Ok(turn),
                Ok(None) => return Err(Failed::StartOver), // no request for a slot passes the queue
                Err(KernelError::Stop(Stop::Busy | Stop::TimedOut))
                    if wait.may_look_again()
                        && (began.elapsed() < PASSING || rounds < ROUNDS_OF_LOOKS)
                        && self.is_only_being_passed(file) => {}
                Err(KernelError::Stop(stop)) => return Err(self.stopped_in_queue(file, wait, stop)),
                Err(error) => return Err(self.failed(file, wait, error)),
            }
        }
    }

    /// The requests before this one wait for a slot, or for the end of an exclusive lock.
    fn stopped_in_queue(&self, file: &LockFile, wait: &Wait<'_>, stop: Stop) -> Failed {
        if file
            .lock(Family::Flock, Mode::Shared, Blocking::No)
            .is_err()
        {
            return self.failed(file, wait, KernelError::Stop(stop));
        }
        if stop == Stop::Busy && self.has_free_slot(file) {
            let conflict = self.conflict(file, wait).behind_others();
            return Failed::Error(Error::WouldBlock(conflict));
        }
        self.all_taken(file, wait, stop)
    }

    /// Whether the request at the head has no reason to stay there: a slot is free, and the request
    /// does not want the whole file.
    fn is_only_being_passed(&self, file: &LockFile) -> bool {
        let is_exclusive = |head| head == Some(Range::head_of_queue(Mode::Exclusive));
        let wants_all = file.locked_by_others(Range::QUEUE).is_ok_and(is_exclusive);
        !wants_all && self.has_free_slot(file)
    }

    fn has_free_slot(&self, file: &LockFile) -> bool {
        let is_free = |slot| matches!(file.locked_by_others(Range::slot(slot)), Ok(None));
        (0..self.slots).any(is_free)
    }

    fn share_with_flock(
        &self,
        file: &Arc<LockFile>,
        turn: &mut Turn,
        wait: &mut Wait<'_>,
    ) -> Result<(), Failed> {
        let (family, mode) = (Family::Flock, Mode::Shared);
        let stopped = |stop, wait: &Wait<'_>| self.failed(file, wait, KernelError::Stop(stop));
        match file.lock(family, mode, Blocking::No) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(self.failed(file, wait, KernelError::Io(error))),
        }
        if !wait.may_sleep() {
            return Err(stopped(wait.stop_at_once(), wait));
        }
        if self.waits_for_itself(file) {
            return Err(stopped(Stop::Deadlock, wait));
        }
        wait.begin().map_err(|stop| stopped(stop, wait))?;
        turn.watch_head();
        let slept = wait.sleep_in_kernel(None, || file.lock(family, mode, Blocking::Yes));
        let locked = match slept {
            Ok(KernelWait::Locked) => Ok(()),
            Ok(KernelWait::NoSignals | KernelWait::Capped) => {
                helper_thread::poll(file, family, mode, wait).map(drop)
            }
            Err(error) => Err(error),
        };
        let is_at_head = turn.stop_watch();
        locked.map_err(|error| self.failed(file, wait, error))?;
        if is_at_head {
            Ok(())
        } else {
            Err(Failed::StartOver)
        }
    }

    /// Whether the calling thread waits for what only it can release: it holds all slots, or the
    /// exclusive lock.
    fn waits_for_itself(&self, file: &LockFile) -> bool {
        let gate = self.lock.gate();
        held_slots::by_this_thread(file.identity()) >= self.slots as usize
            || registry::held_by_this_thread(file.identity(), Family::Flock, Mode::Shared, gate)
    }

    fn conflict(&self, file: &LockFile, wait: &Wait<'_>) -> Conflict {
        let identity = Some(file.identity());
        Conflict::new(self.path(), Mode::Exclusive, wait.waited(), identity)
    }

    /// The request ends while all slots are taken.
    fn all_taken(&self, file: &LockFile, wait: &Wait<'_>, stop: Stop) -> Failed {
        let conflict = || self.conflict(file, wait).about_slots(self.slots);
        match stop {
            Stop::Busy => Failed::Error(Error::WouldBlock(conflict())),
            Stop::TimedOut => Failed::Error(Error::TimedOut(conflict())),
            _ => self.failed(file, wait, KernelError::Stop(stop)),
        }
    }

    fn failed(&self, file: &LockFile, wait: &Wait<'_>, error: KernelError) -> Failed {
        match error {
            KernelError::Stop(stop) => {
                let identity = Some(file.identity());
                Failed::Error(self.lock.stopped(stop, Mode::Exclusive, wait, identity))
            }
            KernelError::Io(error)
                if error.kind() == io::ErrorKind::Interrupted || !file.is_ours() =>
            {
                Failed::StartOver
            }
            KernelError::Io(error) => Failed::Error(Error::from_lock_call(
                self.path(),
                "acquiring a slot",
                error,
                || file_system::name_of(file.as_fd()),
            )),
        }
    }
}

/// A slot, for the wait of a request.
struct AwaitedSlot<'s> {
    lock: &'s FileLock,
    /// The file from which the request takes a slot.
    file: Cell<Option<Identity>>,
}

impl Awaited for AwaitedSlot<'_> {
    fn key(&self) -> Key {
        Key::new(
            std::ptr::from_ref(&**self.lock.gate()).addr(),
            Family::Flock,
            self.file.get(),
        )
    }

    fn may_use_signals(&self) -> bool {
        self.lock.may_use_signals()
    }

    fn watch(&self, mode: Mode, began: Instant) -> Box<dyn Watched> {
        self.lock.watch(mode, began)
    }
}
