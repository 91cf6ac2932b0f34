//! From a request to a held lock: passes the gate, waits in the kernel's queue, and checks that the
//! locked file is still at the path.

mod convert;
pub(crate) mod create;
mod errors;
mod head_watcher;
pub(crate) mod lock_name;
pub(crate) mod open;
mod open_or_create;
mod orphan;
pub(crate) mod release;
mod ticket;
pub(crate) mod turn;

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use self::errors::lock_call;
use self::open::{LockFile, Opened, Writing};
use self::turn::Turn;
use crate::bytes::Range;
use crate::gate::{Alone, EntryTerms, Gate, Occupant, Passed, Sleeper, registry};
use crate::lock::FileLock;
use crate::record::{RecordState, Taken};
use crate::request::Terms;
use crate::sys::file_lock::Blocking;
use crate::sys::identity::Identity;
use crate::sys::{Refusal, file_system};
use crate::upgrade::Claim;
use crate::wait::helper_thread;
use crate::wait::{KernelError, KernelWait, Stop, Wait};
use crate::{Error, Mode};

impl FileLock {
    /// Takes the lock for `occupant`, and writes its record if it has one.
    #[inline]
    pub(crate) fn take(&self, terms: Terms<'_>, occupant: Occupant) -> Result<Taken, Error> {
        let (mode, note, records_later) = (terms.mode, terms.note, terms.records_later);
        let mut wait = Wait::new(terms, self);
        let gate = self.gate();
        let taken = self.pass_gate(gate, mode, occupant, &mut wait);
        let taken =
            wait.resume_callback_panic(taken, |file| drop(self.leave(gate, &file, mode, occupant)));
        let file = taken?;
        if records_later {
            return Ok(Taken { file, entry: None });
        }
        self.record_taken(gate, file, mode, occupant, note)
    }

    #[inline]
    fn pass_gate(
        &self,
        gate: &Gate,
        mode: Mode,
        occupant: Occupant,
        wait: &mut Wait<'_>,
    ) -> Result<Arc<LockFile>, Error> {
        let mut join = true;
        loop {
            let terms = EntryTerms {
                mode,
                occupant,
                join,
            };
            let passed = gate
                .enter(terms, wait, |file| self.give_back(gate, file))
                .map_err(|stop| self.stopped_at_gate(stop, mode, wait))?;
            match self.go_inside(gate, passed, mode, occupant, wait)? {
                Some(file) => return Ok(file),
                None => join = false,
            }
        }
    }

    /// Takes the lock for a task that has a place in the gate's queue, and has waited since
    /// `began`. None: the task has lost its place, has to queue anew, and must not join shared
    /// holders then.
    pub(crate) fn take_queued(
        &self,
        terms: Terms<'_>,
        began: Instant,
        place: &Arc<Sleeper>,
    ) -> Result<Option<Taken>, Error> {
        let (mode, note) = (terms.mode, terms.note);
        let mut wait = Wait::new(terms, self).since(began);
        let gate = self.gate();
        let passed = gate
            .enter_queued(place, &mut wait, |file| self.give_back(gate, file))
            .map_err(|stop| self.stopped_at_gate(stop, mode, &wait))?;
        let file = self.go_inside(gate, passed, mode, Occupant::ANY, &mut wait)?;
        let record = |file| self.record_taken(gate, file, mode, Occupant::ANY, note);
        file.map(record).transpose()
    }

    /// Gives up the place of a task in the gate's queue. False if the task is inside by now.
    pub(crate) fn withdraw(&self, place: &Arc<Sleeper>) -> bool {
        let gate = self.gate();
        gate.withdraw(place, |file| self.give_back(gate, file))
    }

    /// Gives the kernel's lock back that was kept for a request which has ended.
    fn give_back(&self, gate: &Gate, file: &LockFile) {
        drop(self.unlock(gate, file, Mode::Exclusive));
    }

    fn stopped_at_gate(&self, stop: Stop, mode: Mode, wait: &Wait<'_>) -> Error {
        self.stopped(stop, mode, wait, self.identity())
    }

    /// The file that the gate's threads have open: the locked one, if the lock is held. Another one
    /// may be at the path by now. If they have no file open: the file at the path.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let open = self.gate().file().map(|file| file.identity());
        open.or_else(|| self.name().identity().ok())
    }

    /// Continues after the gate. None: the request joined shared holders and had to leave again.
    #[inline]
    fn go_inside(
        &self,
        gate: &Gate,
        passed: Passed,
        mode: Mode,
        occupant: Occupant,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Arc<LockFile>>, Error> {
        match passed {
            Passed::Alone(alone) => self.take_alone(gate, alone, mode, occupant, wait).map(Some),
            Passed::Joined(joined) => {
                if !joined.check || joined.file.is_intact() && self.may_join(&joined.file, mode) {
                    return Ok(Some(joined.file));
                }
                // The holders' file is no longer at the path, or their descriptor was closed, or
                // another request comes first. Wait until the holders are gone.
                let _ = self.leave(gate, &joined.file, mode, occupant);
                Ok(None)
            }
        }
    }

    /// Whether this thread may join the holders of `file` without passing a waiter. Fair requests
    /// that join one after the other would otherwise keep the waiters out.
    fn may_join(&self, file: &Arc<LockFile>, mode: Mode) -> bool {
        !self.options().fair || turn::after_looks(file, mode).is_some()
    }

    /// Continues a thread that has passed the gate alone.
    #[inline]
    fn take_alone(
        &self,
        gate: &Gate,
        alone: Alone,
        mode: Mode,
        occupant: Occupant,
        wait: &mut Wait<'_>,
    ) -> Result<Arc<LockFile>, Error> {
        // After any error below no thread is inside.
        let reopen = ReopenOnDrop { gate };
        if alone.kept
            && let Some(file) = &alone.file
        {
            // The holder before this thread may have removed the file or closed its descriptor, and
            // so may have lost the lock, however short it was inside.
            if mode == Mode::Exclusive && file.is_intact() {
                reopen.disarm();
                return Ok(file.clone());
            }
            if file.is_ours() {
                let _ = self.record_end(file, RecordState::Released);
                let _ = file.unlock(self.options().family);
            } else {
                self.record_lost();
            }
        }
        let file = self.lock_in_kernel(gate, alone.file, mode, wait)?;
        gate.kernel_lock_taken();
        reopen.disarm();
        if mode == Mode::Shared {
            gate.share(occupant);
        }
        Ok(file)
    }

    /// Takes the kernel's lock on a file, and checks afterwards that this file is at the path.
    #[inline]
    pub(crate) fn lock_in_kernel(
        &self,
        gate: &Gate,
        file: Option<Arc<LockFile>>,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Arc<LockFile>, Error> {
        let mut next = file;
        loop {
            let file = match next.take() {
                Some(file) => file,
                None => {
                    let file = Arc::new(self.open_or_create(mode, wait)?);
                    gate.set_file(Some(file.clone()));
                    file
                }
            };
            match self.lock_file(gate, file, mode, wait)? {
                Locked::Yes(file) if file.is_current() => return Ok(file),
                // Another process removed, renamed or replaced the file before this request got the
                // lock. Unlock before closing, because a child may have inherited the open file
                // description.
                Locked::Yes(file) => drop(self.unlock_in_kernel(&file, mode)),
                Locked::Retry(file) => {
                    next = Some(file);
                    continue;
                }
                Locked::Closed => {}
            }
            gate.set_file(None);
            wait.before_retry()
                .map_err(|stop| self.stopped(stop, mode, wait, None))?;
        }
    }

    #[inline]
    fn lock_file(
        &self,
        gate: &Gate,
        file: Arc<LockFile>,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Locked, Error> {
        let family = self.options().family;
        let failed = |source: io::Error| {
            Error::from_lock_call(&self.name().path, lock_call(mode), source, || {
                file_system::name_of(file.as_fd())
            })
        };
        let identity = file.identity();
        let stopped = |stop, wait: &Wait<'_>| self.stopped(stop, mode, wait, Some(identity));
        let mut places = None;
        if self.has_places(mode) {
            match self.take_places(gate, &file, mode, wait) {
                Ok(taken) => places = Some(taken),
                Err(KernelError::Stop(stop)) => return Err(stopped(stop, wait)),
                Err(KernelError::Io(_)) if !file.is_ours() => return Ok(Locked::Closed),
                Err(KernelError::Io(error)) => {
                    return Err(self.system("queueing for the lock", error));
                }
            }
        }
        match file.lock(family, mode, Blocking::No) {
            Ok(()) => {
                if let Some(places) = places {
                    places.keep_bytes();
                }
                return Ok(Locked::Yes(file));
            }
            Err(_) if !file.is_ours() => return Ok(Locked::Closed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Locked::Retry(file));
            }
            Err(error) if Refusal::of(&error) == Some(Refusal::BadDescriptor) && !file.writable => {
                // NFS wants an exclusive lock's file to be open for writing.
                let again = match open::open_existing(self.name(), Writing::IfAllowed) {
                    Ok(Opened::File(again)) if again.writable => Arc::new(again),
                    _ => return Err(failed(error)),
                };
                gate.set_file(Some(again.clone()));
                return Ok(Locked::Retry(again));
            }
            Err(error) => return Err(failed(error)),
        }
        if !wait.may_sleep() {
            return Err(stopped(wait.stop_at_once(), wait));
        }
        if registry::held_by_this_thread(identity, family, mode, gate) {
            return Err(stopped(Stop::Deadlock, wait));
        }
        wait.begin().map_err(|stop| stopped(stop, wait))?;
        let turn = places.as_mut().and_then(|places| places.turn.as_mut());
        if let Some(turn) = turn {
            turn.watch_head();
        }
        let has_right = places.as_ref().is_some_and(|places| places.right.is_some());
        let sleep = || file.lock(family, mode, Blocking::Yes);
        let locked = match wait.sleep_in_kernel(None, sleep) {
            Ok(KernelWait::Locked) => Ok(file.clone()),
            // The thread would lock another open file, and the right is on this one.
            Ok(KernelWait::NoSignals | KernelWait::Capped) if has_right => {
                helper_thread::poll(&file, family, mode, wait)
            }
            Ok(KernelWait::NoSignals | KernelWait::Capped) => {
                helper_thread::lock(&file, family, mode, wait).inspect(|locked| {
                    gate.set_file(Some(locked.clone()));
                })
            }
            Err(error) => Err(error),
        };
        match locked {
            // If the descriptor was closed during the call, the kernel reports success although the
            // lock is gone.
            Ok(locked) if !locked.is_ours() => Ok(Locked::Closed),
            Ok(locked) => {
                if let Some(mut places) = places {
                    places.share = places.share.map(|share| share.move_to(&locked));
                    places.keep_bytes();
                }
                Ok(Locked::Yes(locked))
            }
            Err(KernelError::Stop(stop)) => Err(stopped(stop, wait)),
            Err(KernelError::Io(_)) if !file.is_ours() => Ok(Locked::Closed),
            Err(KernelError::Io(error)) => Err(failed(error)),
        }
    }

    /// Whether a request has to take places before it asks for the lock.
    #[inline]
    fn has_places(&self, mode: Mode) -> bool {
        self.options().fair || self.has_bytes(mode)
    }

    /// Waits for the places of a request, in their order.
    fn take_places(
        &self,
        gate: &Gate,
        file: &Arc<LockFile>,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Places, KernelError> {
        Ok(Places {
            right: self.claim_right(gate, file, wait)?,
            turn: self.wait_for_turn(gate, file, mode, wait)?,
            share: self.claim_share(gate, file, mode, wait)?,
        })
    }

    /// For fair requests: waits until this request is at the head of the queue.
    fn wait_for_turn(
        &self,
        gate: &Gate,
        file: &Arc<LockFile>,
        mode: Mode,
        wait: &mut Wait<'_>,
    ) -> Result<Option<Turn>, KernelError> {
        if !self.options().fair || wait.had_its_turn() {
            return Ok(None);
        }
        let family = self.options().family;
        Turn::acquire(file, Range::head_of_queue(mode), mode, wait, |mode| {
            registry::held_by_this_thread(file.identity(), family, mode, gate)
        })
    }
}

/// What a request has before it asks for the lock.
struct Places {
    /// The right to upgrade.
    right: Option<Claim>,
    /// The place at the head of the queue, until the request has the lock or ends.
    turn: Option<Turn>,
    /// A share of the readers' byte.
    share: Option<Claim>,
}

impl Places {
    /// The request has the lock: only the turn ends.
    fn keep_bytes(self) {
        Claim::keep(self.right);
        Claim::keep(self.share);
    }
}

/// The result of a lock call.
enum Locked {
    Yes(Arc<LockFile>),
    /// Not locked yet: try this file, which may now be open for writing.
    Retry(Arc<LockFile>),
    /// Other code in this process has closed the descriptor.
    Closed,
}

/// Opens the gate when dropped, unless [`disarm`](ReopenOnDrop::disarm) was called.
pub(crate) struct ReopenOnDrop<'g> {
    pub(crate) gate: &'g Gate,
}

impl ReopenOnDrop<'_> {
    pub(crate) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for ReopenOnDrop<'_> {
    fn drop(&mut self) {
        self.gate.open();
    }
}
