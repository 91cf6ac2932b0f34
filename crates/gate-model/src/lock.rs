//! A lock that uses the gate as `FileLock` does, and counts on it.

use std::sync::Arc;

use loom::cell::UnsafeCell;

use crate::Mode;
use crate::acquire::open::{Kernel, LockFile};
use crate::gate::{EntryTerms, Gate, Occupant, Passed, Sleeper};
use crate::wait::{Stop, Wait};

pub(crate) struct Lock {
    pub(crate) gate: Arc<Gate>,
    pub(crate) kernel: Arc<Kernel>,
    /// What the lock protects. loom fails if a section uses it at the same time as another one, or
    /// without seeing what the sections before have written.
    protected: Protected,
}

struct Protected(UnsafeCell<()>);

// SAFETY: there is nothing to protect in it; loom looks at the accesses only.
#[allow(unsafe_code)]
unsafe impl Sync for Protected {}

impl Lock {
    pub(crate) fn new(fair: bool, file_stays: bool) -> Arc<Lock> {
        Arc::new(Lock {
            gate: Gate::new(fair, file_stays),
            kernel: Arc::default(),
            protected: Protected(UnsafeCell::new(())),
        })
    }

    /// An exclusive section. An error if the wait ends without the lock.
    pub(crate) fn write(&self, mut wait: Wait<'_>) -> Result<(), Stop> {
        let occupant = Occupant::this_thread();
        let file = self.take(Mode::Exclusive, occupant, &mut wait)?;
        self.change();
        self.leave(&file);
        Ok(())
    }

    /// A shared section.
    pub(crate) fn read(&self, mut wait: Wait<'_>) -> Result<(), Stop> {
        let occupant = Occupant::this_thread();
        let file = self.take(Mode::Shared, occupant, &mut wait)?;
        self.look();
        self.leave_shared(occupant, &file);
        Ok(())
    }

    /// See `FileLock::take`.
    pub(crate) fn take(
        &self,
        mode: Mode,
        occupant: Occupant,
        wait: &mut Wait<'_>,
    ) -> Result<Arc<LockFile>, Stop> {
        let terms = terms(mode, occupant);
        let passed = self.gate.enter(terms, wait, LockFile::unlock)?;
        Ok(self.go_inside(passed, mode, occupant))
    }

    /// See `FileLock::take_alone`.
    pub(crate) fn go_inside(
        &self,
        passed: Passed,
        mode: Mode,
        occupant: Occupant,
    ) -> Arc<LockFile> {
        let alone = match passed {
            Passed::Joined(joined) => return joined.file,
            Passed::Alone(alone) => alone,
        };
        if alone.kept
            && let Some(file) = &alone.file
        {
            if mode == Mode::Exclusive {
                return file.clone();
            }
            file.unlock();
        }
        let file = alone.file.unwrap_or_else(|| {
            let file = LockFile::open(&self.kernel);
            self.gate.set_file(Some(file.clone()));
            file
        });
        file.lock();
        self.gate.kernel_lock_taken();
        if mode == Mode::Shared {
            self.gate.share(occupant);
        }
        file
    }

    /// Takes a place for a task.
    pub(crate) fn queue_up(&self, mode: Mode) -> Arc<Sleeper> {
        self.gate.queue_up(terms(mode, Occupant::ANY))
    }

    /// Waits for a task's turn.
    pub(crate) fn take_queued(
        &self,
        place: &Arc<Sleeper>,
        mode: Mode,
        mut wait: Wait<'_>,
    ) -> Result<Arc<LockFile>, Stop> {
        let passed = self.gate.enter_queued(place, &mut wait, LockFile::unlock)?;
        Ok(self.go_inside(passed, mode, Occupant::ANY))
    }

    /// Gives a task's place up. False if the task is inside.
    pub(crate) fn withdraw(&self, place: &Arc<Sleeper>) -> bool {
        self.gate.withdraw(place, LockFile::unlock)
    }

    pub(crate) fn leave(&self, file: &LockFile) {
        let unlock = || {
            file.unlock();
            Ok(())
        };
        let left: Result<(), Stop> = self.gate.leave_exclusive(|| {}, unlock);
        left.unwrap();
    }

    pub(crate) fn leave_shared(&self, occupant: Occupant, file: &LockFile) {
        let left: Result<(), Stop> = self.gate.leave_shared(occupant, || {
            file.unlock();
            Ok(())
        });
        left.unwrap();
    }

    /// What an exclusive section does.
    pub(crate) fn change(&self) {
        self.protected.0.with_mut(|_| ());
    }

    /// What a shared section does.
    pub(crate) fn look(&self) {
        self.protected.0.with(|_| ());
    }

    /// At the end of a model the lock is free, and the kernel's lock as well.
    pub(crate) fn assert_free(&self) {
        assert!(
            !self.kernel.is_locked(),
            "the kernel's lock is never given back"
        );
        self.write(Wait::never()).expect("the gate is open");
    }
}

fn terms(mode: Mode, occupant: Occupant) -> EntryTerms {
    EntryTerms {
        mode,
        occupant,
        join: true,
    }
}
