//! The state of one object, behind its mutex: the holds and the waits.

use std::sync::Arc;

use holdlock::{FileLock, Mode, OwnedGuard};

use crate::cancel::Alert;
use crate::error::Failure;
use crate::fork;
use crate::hold::{Hold, Settings, Threads};
use crate::requester::Requester;

pub(crate) struct State {
    pub(crate) generation: u32,
    /// Whether the object was held when this process was forked.
    pub(crate) inherited: bool,
    pub(crate) threads: Threads,
    pub(crate) settings: Settings,
    /// The mode of a request that does not say one.
    pub(crate) mode: Mode,
    /// The opened lock; None before the first request.
    pub(crate) lock: Option<Arc<FileLock>>,
    pub(crate) holds: Vec<Hold>,
    /// The waits by number, each with the way to make it look whether it can join a holder.
    pub(crate) waiting: Vec<(u64, Alert)>,
}

/// The answer of the object's holds to a request.
pub(crate) enum Join {
    /// The requester already holds the lock; its counter was increased.
    Joined,
    /// Another thread or task holds the object, and excludes the requester.
    Excluded,
    /// The object is not held: the request goes to the kernel.
    Free,
}

impl State {
    /// In a child of fork: forgets what the parent holds.
    #[cold]
    pub(crate) fn become_child(&mut self) {
        self.generation = fork::generation();
        self.inherited |= self.holds.iter().any(|hold| hold.counter > 0);
        self.holds.iter_mut().for_each(|hold| drop(hold.give_up()));
        self.waiting.clear();
    }

    fn key(&self, requester: Requester<'_>) -> u64 {
        match self.threads {
            Threads::Apart => requester.number(),
            Threads::Together | Threads::Exclude => 0,
        }
    }

    pub(crate) fn hold(&self, requester: Requester<'_>) -> Option<&Hold> {
        let key = self.key(requester);
        self.holds.iter().find(|hold| hold.whose == key)
    }

    #[inline]
    pub(crate) fn hold_if_any(&mut self, requester: Requester<'_>) -> Option<&mut Hold> {
        let key = self.key(requester);
        self.holds.iter_mut().find(|hold| hold.whose == key)
    }

    pub(crate) fn hold_mut(&mut self, requester: Requester<'_>) -> &mut Hold {
        let key = self.key(requester);
        let position = self.holds.iter().position(|hold| hold.whose == key);
        let position = position.unwrap_or_else(|| {
            // A thread that has ended and holds nothing does not come back.
            self.holds.retain(|hold| {
                hold.counter > 0 || hold.whose == 0 || hold.alive.strong_count() > 0
            });
            self.holds.push(Hold {
                whose: key,
                alive: requester.alive(),
                settings: self.settings,
                counter: 0,
                mode: self.mode,
                guard: None,
                run: None,
                lent: None,
                taker: 0,
            });
            self.holds.len() - 1
        });
        &mut self.holds[position]
    }

    /// Acquires once more a lock that the requester already holds.
    #[inline]
    pub(crate) fn join(&mut self, mode: Mode, requester: Requester<'_>) -> Result<Join, Failure> {
        if self.inherited {
            return Err(Failure::Inherited);
        }
        let excludes = self.threads == Threads::Exclude;
        if excludes && mode == Mode::Shared {
            return Err(Failure::SharedMutex);
        }
        match self.hold_if_any(requester) {
            Some(hold) if hold.counter > 0 => {
                if excludes && hold.taker != requester.number() {
                    return Ok(Join::Excluded);
                }
                if hold.mode == Mode::Shared && mode == Mode::Exclusive {
                    return Err(Failure::Upgrade);
                }
                hold.counter += 1;
                Ok(Join::Joined)
            }
            _ => Ok(Join::Free),
        }
    }

    /// Keeps a lock that was acquired for the requester. Without a guard, another object has it.
    #[inline]
    pub(crate) fn commit(
        &mut self,
        guard: Option<OwnedGuard>,
        mode: Mode,
        requester: Requester<'_>,
    ) {
        let hold = self.hold_mut(requester);
        if hold.counter > 0 {
            // Two threads waited for a shared lock and both acquired it: they hold it together.
            hold.counter += 1;
            return;
        }
        hold.guard = guard;
        hold.counter = 1;
        hold.mode = mode;
        hold.taker = requester.number();
        hold.alive = requester.alive();
        if self.threads == Threads::Together {
            // The waiting threads can now hold the lock together with this one.
            for (_, alert) in &self.waiting {
                alert.send();
            }
        }
    }

    /// Takes the guards of threads and tasks that have ended without releasing the lock.
    pub(crate) fn give_up_ended(&mut self) -> Vec<OwnedGuard> {
        let ended = self
            .holds
            .iter_mut()
            .filter(|hold| hold.alive.strong_count() == 0);
        ended.filter_map(Hold::give_up).collect()
    }

    pub(crate) fn forget_wait(&mut self, number: u64) {
        self.waiting.retain(|(other, _)| *other != number);
    }
}
