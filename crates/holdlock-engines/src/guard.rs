//! `EngineGuard`: the proof of holding a lock of an engine, for as long as it is one.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use holdlock::Mode;
use tokio::sync::oneshot;

use crate::engine::Entry;
use crate::keeper::hold::{Command, Handle, Held, answered, no_answer, told};
use crate::keeper::{self, serve};
use crate::sys::fork::Inherited;
use crate::sys::sentinel;
use crate::{BootTime, EngineLock, Error, History, Loss, LostSignal, Member, Run};

/// How long dropping a guard waits for the engine to confirm the release.
const DROP: Duration = Duration::from_secs(1);
/// How long the helper thread takes at most to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Holds a lock of an engine until it is dropped, or until it is lost.
///
/// Unlike the lock of a file, this one can be lost while the process runs: the engine is restarted,
/// or the network fails. A program learns it by [`is_valid`](EngineGuard::is_valid) before each
/// step, by [`lost`](EngineGuard::lost) at once, and for what it writes elsewhere by the
/// [`token`](EngineGuard::token).
///
/// The guard may move to another thread. Dropping it releases the lock, waits up to a second for
/// the engine to confirm that, and ignores errors; [`release`](EngineGuard::release) reports them.
/// In a child of fork(2) the guard holds nothing, and dropping it there does nothing.
#[must_use = "the lock is released when the guard is dropped"]
pub struct EngineGuard {
    lock: EngineLock,
    handle: Inherited<Handle>,
    /// Whether dropping the guard waits for the engine.
    waits: bool,
    /// Clones of what the handle has, for use in a child.
    mode: Mode,
    token: Option<u64>,
    ttl: Duration,
    reserve: Duration,
    lost: LostSignal,
}

impl EngineGuard {
    pub(crate) fn new(lock: EngineLock, handle: Handle) -> EngineGuard {
        EngineGuard {
            lock,
            waits: true,
            mode: handle.held.mode,
            token: handle.held.token,
            ttl: handle.held.ttl,
            reserve: handle.held.reserve,
            lost: handle.held.lost.clone(),
            handle: Inherited::new(handle),
        }
    }

    /// The lock's URL, without user, password and options.
    pub fn name(&self) -> &str {
        self.lock.name()
    }

    /// Exclusive or shared.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// A number that is greater than those of all holders before. A store that refuses what comes
    /// with a smaller number than it has seen is safe even from a holder that did not notice the
    /// loss of its lock. None where the engine has no such number.
    pub fn token(&self) -> Option<u64> {
        self.token
    }

    /// Whether the lock is certainly held now: its deadline has not passed, and the engine has not
    /// reported its loss. Reads a clock, and neither waits nor asks the engine.
    pub fn is_valid(&self) -> bool {
        self.held()
            .is_some_and(|held| !held.deadline().has_passed())
    }

    /// Until when the lock is held for certain, whatever happens to the engine and the network. It
    /// moves on with each renewal, about three times in the engine's time limit. Once the lock is
    /// lost, the deadline is in the past.
    pub fn deadline(&self) -> BootTime {
        let held = self.held();
        held.map_or(BootTime::from_nanos(0), Held::deadline)
    }

    /// How long after the last contact the engine frees the lock. The deadline is a little earlier.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// How much of the time until the deadline is left when a renewal is due. If less is left, a
    /// renewal is late: a program that needs some time to stop begins to stop in this time.
    pub fn reserve(&self) -> Duration {
        self.reserve
    }

    /// Why the engine has refused the last renewal, if it has: the user may no longer renew the
    /// lock, or too few replicas have confirmed it. The engine frees the lock unless a later
    /// renewal succeeds. Reads memory only.
    pub fn refusal(&self) -> Option<String> {
        self.held().and_then(Held::refusal)
    }

    /// Asks the engine, by one round trip, whether the lock is held and was held all the time.
    ///
    /// Blocks until the engine answers, for twice the [`ttl`](EngineGuard::ttl) at most. If the
    /// connection fails meanwhile, asks again, until the [`deadline`](EngineGuard::deadline).
    ///
    /// # Errors
    ///
    /// [`Error::Lost`]; [`Loss::is_definite`] tells whether the engine has said so.
    pub fn check(&self) -> Result<(), Error> {
        self.check_within(answered(self.ttl))
    }

    /// As [`check`](EngineGuard::check), but blocks for at most `limit`.
    pub fn check_within(&self, limit: Duration) -> Result<(), Error> {
        let (tell, answer) = oneshot::channel();
        self.ask(Command::Check(tell), answer, limit)
    }

    /// As [`check`](EngineGuard::check), and with the same limit, in asynchronous code. The engine
    /// is asked at once, and the future does not borrow the guard.
    pub fn check_async(&self) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        let (tell, answer) = oneshot::channel();
        let sent = self.send(Command::Check(tell));
        let lock = self.name().to_owned();
        async move {
            sent?;
            let result = told(serve::heard(answer).await);
            result.map_err(|loss| Error::Lost { lock, loss })
        }
    }

    /// Tells when the lock is lost.
    pub fn lost(&self) -> &LostSignal {
        &self.lost
    }

    /// Releases the lock.
    ///
    /// Blocks until the engine answers: while the lock is held for certain for ten seconds at most,
    /// and otherwise for two.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when the lock was no longer ours, or when the engine did not answer. It
    /// frees the lock in that case, too, when it notices the end of the connection.
    pub fn release(self) -> Result<(), Error> {
        let (tell, answer) = oneshot::channel();
        self.ask(Command::Release(tell), answer, ANSWER)
    }

    /// As [`release`](EngineGuard::release), in asynchronous code. The lock is also released if the
    /// future is dropped, which does not wait for the engine.
    pub fn release_async(mut self) -> impl Future<Output = Result<(), Error>> + Send + use<> {
        self.waits = false;
        async move {
            let (tell, answer) = oneshot::channel();
            self.send(Command::Release(tell))?;
            let result = told(serve::heard(answer).await);
            result.map_err(|loss| self.lost_error(loss))
        }
    }

    /// Tells the engine about the work under this lock, so that later holders learn when the last
    /// run began and whether a holder died; returns what was remembered before. The engine uses its
    /// own clock. The lock itself does not need it.
    ///
    /// # Errors
    ///
    /// [`Error::Lost`] when a later holder has told the engine something: then nothing was changed.
    /// [`Error::Unsuitable`] when the engine has no place to remember it
    /// ([`EngineServer::init`](crate::EngineServer::init)). Those of [`EngineLock::lock`].
    pub fn record_run(&self, run: Run) -> Result<History, Error> {
        let entry = self.entry(run);
        serve::change(self.lock.engine(), |engine| async move {
            engine.record_run(&entry).await
        })
    }

    /// As [`record_run`](EngineGuard::record_run), in asynchronous code. The engine is asked at
    /// once, and the future does not borrow the guard.
    pub fn record_run_async(
        &self,
        run: Run,
    ) -> impl Future<Output = Result<History, Error>> + Send + use<> {
        let entry = self.entry(run);
        serve::change_async(self.lock.engine().clone(), |engine| async move {
            engine.record_run(&entry).await
        })
    }

    fn entry(&self, run: Run) -> Entry {
        Entry {
            token: self.token,
            holder: Member::of_this_process(self.mode, self.lock.command_text()),
            run,
        }
    }

    /// Releases the lock without waiting for the engine: for destructors that must not block. If
    /// the process ends just then, its end waits for the engine, for a second at most.
    pub fn release_in_background(mut self) {
        self.waits = false;
    }

    fn held(&self) -> Option<&Held> {
        self.handle.get().map(|handle| &*handle.held)
    }

    fn send(&self, command: Command) -> Result<(), Error> {
        let Some(handle) = self.handle.get() else {
            let loss = self.lost.loss();
            return Err(self.lost_error(loss.unwrap_or_else(no_answer)));
        };
        if sentinel::is_gone() {
            return Err(self.lost_error(no_answer()));
        }
        let sent = handle.commands.send(command);
        sent.map_err(|_| self.lost_error(no_answer()))
    }

    fn ask(
        &self,
        command: Command,
        answer: oneshot::Receiver<Result<(), Loss>>,
        limit: Duration,
    ) -> Result<(), Error> {
        self.send(command)?;
        if keeper::is_this_thread() {
            // It would wait for itself.
            return Ok(());
        }
        let result = told(serve::block_on(answer, limit));
        result.map_err(|loss| self.lost_error(loss))
    }

    fn lost_error(&self, loss: Loss) -> Error {
        Error::Lost {
            lock: self.name().to_owned(),
            loss,
        }
    }
}

impl Drop for EngineGuard {
    fn drop(&mut self) {
        let handle = self.handle.get().filter(|_| self.waits);
        if handle.is_some_and(|handle| !handle.commands.is_closed()) {
            let (tell, answer) = oneshot::channel();
            let _ = self.ask(Command::Release(tell), answer, DROP);
        }
    }
}

impl fmt::Debug for EngineGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineGuard")
            .field("name", &self.name())
            .field("mode", &self.mode)
            .field("token", &self.token)
            .field("valid", &self.is_valid())
            .finish_non_exhaustive()
    }
}
