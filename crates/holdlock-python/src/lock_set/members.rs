//! The locks of a set, and the steps of a request for all of them.

use std::ffi::OsStr;
use std::sync::Arc;

use holdlock::{
    CancelToken as Token, Error, FileLock, LockSet, Mode, OwnedGuard, Request, SetGuard,
};
use pyo3::prelude::*;

use crate::blocking::{self, Limits};
use crate::cancel::Alert;
use crate::core::Core;
use crate::error::Failure;
use crate::hold::Threads;
use crate::lock::NativeLock;
use crate::requester::Requester;
use crate::thread;
use crate::unseen::Acquired;

pub(super) struct Members(pub(super) Vec<(Py<NativeLock>, Mode)>);

/// The members by their numbers: those that the requester holds, and the rest.
pub(super) struct Step {
    pub(super) joined: Vec<usize>,
    pub(super) rest: Vec<usize>,
}

impl Members {
    pub(super) fn core(&self, number: usize) -> PyResult<&Core> {
        self.0[number].0.get().core()
    }

    /// The first lock file, as the caller has named it.
    pub(super) fn name(&self) -> &OsStr {
        let core = (!self.0.is_empty()).then(|| self.core(0).ok()).flatten();
        core.map_or(OsStr::new(""), Core::name)
    }

    /// The error, with the name of the lock in the way.
    pub(super) fn raise(&self, py: Python<'_>, failure: Failure) -> PyErr {
        let mut cores = (0..self.0.len()).filter_map(|number| self.core(number).ok());
        let core = match &failure {
            Failure::Library(error) => cores.find(|core| core.path() == error.path()),
            _ => None,
        };
        failure.raise(py, core.map_or_else(|| self.name(), Core::name))
    }

    /// Acquires once more what the requester holds.
    pub(super) fn join(&self, py: Python<'_>, requester: Requester<'_>) -> PyResult<Step> {
        let mut step = Step {
            joined: Vec::new(),
            rest: Vec::new(),
        };
        for (number, (_, mode)) in self.0.iter().enumerate() {
            let core = self.core(number)?;
            match core.shared.join(*mode, requester) {
                Ok(true) => step.joined.push(number),
                Ok(false) => step.rest.push(number),
                Err(failure) => {
                    self.leave(&step.joined, requester);
                    return Err(failure.raise(py, core.name()));
                }
            }
        }
        Ok(step)
    }

    /// Whether the requester still holds these members: then they are acquired once more.
    pub(super) fn join_again(&self, joined: &[usize], requester: Requester<'_>) -> bool {
        for (done, number) in joined.iter().enumerate() {
            let core = self.core(*number).ok();
            let again = core.map(|core| core.shared.join(self.0[*number].1, requester));
            if !matches!(again, Some(Ok(true))) {
                self.leave(&joined[..done], requester);
                return false;
            }
        }
        true
    }

    /// Undoes one acquisition of each of these members, the last one first.
    pub(super) fn leave(
        &self,
        members: &[usize],
        requester: Requester<'_>,
    ) -> Option<(usize, Failure)> {
        let mut failed = None;
        for number in members.iter().rev() {
            if let Ok(core) = self.core(*number)
                && let Err(failure) = core.shared.release(false, requester)
            {
                failed.get_or_insert((*number, failure));
            }
        }
        failed
    }

    pub(super) fn set_of(
        &self,
        py: Python<'_>,
        rest: &[usize],
        requester: Requester<'_>,
    ) -> PyResult<LockSet> {
        let member = |number: &usize| {
            let core = self.core(*number)?;
            let lock = if requester.is_task() {
                core.opened_for_tasks(py)
            } else {
                core.opened(py)
            };
            let lock = lock.map_err(|failure| failure.raise(py, core.name()))?;
            Ok((FileLock::clone(&lock), self.0[*number].1))
        };
        rest.iter().map(member).collect()
    }

    pub(super) fn any_together(&self) -> bool {
        let mut cores = (0..self.0.len()).filter_map(|number| self.core(number).ok());
        cores.any(|core| core.shared.threads == Threads::Together)
    }

    /// Keeps the guards in the locks.
    pub(super) fn keep(
        &self,
        guard: SetGuard<OwnedGuard>,
        rest: &[usize],
        requester: Requester<'_>,
    ) {
        let guards = guard.guards().iter();
        let position = |member| {
            let own = guard.get(member)?;
            guards.clone().position(|other| std::ptr::eq(other, own))
        };
        let positions: Vec<Option<usize>> = (0..rest.len()).map(position).collect();
        let mut guards: Vec<_> = guard.into_guards().into_iter().map(Some).collect();
        for (number, position) in rest.iter().zip(positions) {
            let Ok(core) = self.core(*number) else {
                continue;
            };
            let mode = self.0[*number].1;
            match position.and_then(|position| guards[position].take()) {
                Some(guard) => core.shared.commit(guard, mode, requester),
                // Another member is the same file, and has the guard.
                None => core.shared.commit_together(mode, requester),
            }
        }
    }

    /// One attempt, which does not wait.
    pub(super) fn attempt(
        &self,
        py: Python<'_>,
        requester: Requester<'_>,
        may_wait: bool,
    ) -> PyResult<Option<(Step, LockSet)>> {
        let step = self.join(py, requester)?;
        let tried = self.set_of(py, &step.rest, requester).and_then(|set| {
            let mut request = Request::exclusive().try_once();
            if !requester.is_task() && !self.any_together() {
                request = request.stays_in_thread();
            }
            match py.detach(|| set.acquire_owned(request)) {
                Ok(guard) => {
                    self.keep(guard, &step.rest, requester);
                    Ok(None)
                }
                Err(error) if error.is_conflict() && may_wait => Ok(Some(set)),
                Err(error) => Err(self.raise(py, error.into())),
            }
        });
        match tried {
            Ok(None) => Ok(None),
            Ok(Some(set)) => {
                self.leave(&step.joined, requester);
                Ok(Some((step, set)))
            }
            Err(error) => {
                self.leave(&step.joined, requester);
                Err(error)
            }
        }
    }

    /// Acquires all members for the calling thread.
    pub(super) fn acquire(&self, py: Python<'_>, limits: &Limits<'_>) -> PyResult<()> {
        let me = Requester::Thread;
        loop {
            let Some((step, set)) = self.attempt(py, me, limits.may_wait())? else {
                return Ok(());
            };
            let token = Token::new();
            let Some(waits) = self.begin_waits(py, &step.rest, &token)? else {
                continue;
            };
            let together = self.any_together();
            let alert = together.then_some(&token);
            let taken = blocking::make(py, limits, alert, !together, |request| {
                set.acquire_owned(request)
            });
            self.end_waits(&waits);
            match taken {
                Ok(guard) if self.join_again(&step.joined, me) => {
                    self.keep(guard, &step.rest, me);
                    return Ok(());
                }
                // Another thread has released a lock that it held together with this one.
                Ok(guard) => guard.release_unseen(),
                Err(Failure::Library(Error::Cancelled { .. })) if !limits.is_cancelled() => {}
                Err(failure) => return Err(self.raise(py, failure)),
            }
        }
    }

    /// Registers the waits of the calling thread. None: it can join a holder by now.
    pub(super) fn begin_waits(
        &self,
        py: Python<'_>,
        rest: &[usize],
        token: &Token,
    ) -> PyResult<Option<Vec<usize>>> {
        let mut begun = Vec::new();
        for number in rest {
            let core = self.core(*number)?;
            match core.shared.begin_wait(self.0[*number].1, token) {
                Ok(false) => begun.push(*number),
                Ok(true) => {
                    self.leave(&[*number], Requester::Thread);
                    self.end_waits(&begun);
                    return Ok(None);
                }
                Err(failure) => {
                    self.end_waits(&begun);
                    return Err(failure.raise(py, core.name()));
                }
            }
        }
        Ok(Some(begun))
    }

    pub(super) fn end_waits(&self, waits: &[usize]) {
        for number in waits {
            if let Ok(core) = self.core(*number) {
                core.shared.end_wait(None);
            }
        }
    }
}

/// The waits of a task. Dropping it ends them.
pub(super) struct TaskWaits {
    pub(super) members: Arc<Members>,
    pub(super) rest: Vec<usize>,
    pub(super) number: u64,
}

impl TaskWaits {
    pub(super) fn begin(members: Arc<Members>, rest: Vec<usize>, alert: &Alert) -> TaskWaits {
        let number = thread::fresh_number();
        for member in &rest {
            if let Ok(core) = members.core(*member) {
                core.shared.begin_task_wait(number, alert.clone());
            }
        }
        TaskWaits {
            members,
            rest,
            number,
        }
    }
}

impl Drop for TaskWaits {
    fn drop(&mut self) {
        for member in &self.rest {
            if let Ok(core) = self.members.core(*member) {
                core.shared.end_task_wait(self.number);
            }
        }
    }
}
