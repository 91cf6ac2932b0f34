//! `EngineLock`: the name that processes of several hosts agree on.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use holdlock::{OnWait, Request};
use tokio::sync::oneshot;

use crate::engine::Engine;
use crate::future::{self, EngineFuture};
use crate::keeper::{self, serve};
use crate::url::Url;
use crate::{EngineGuard, Error, Members};

/// A lock that processes of several hosts share by its name in an engine.
///
/// Made by [`open`](crate::open). It is `Send` and `Sync`, and its clones are the same lock. Each
/// acquisition has a connection of its own, so threads that use one `EngineLock` exclude each other
/// as processes do. A thread that requests a lock which it holds already waits for itself:
/// deadlocks over an engine are not noticed.
#[derive(Clone)]
pub struct EngineLock {
    engine: Engine,
    command: Option<Arc<str>>,
}

impl EngineLock {
    pub(crate) fn open(url: &str) -> Result<EngineLock, Error> {
        Ok(EngineLock {
            engine: Engine::open(&Url::parse(url)?)?,
            command: None,
        })
    }

    /// What others are told about this process ([`Member::command`](crate::Member::command)), in
    /// place of the program's name. The first 256 characters count.
    pub fn command(mut self, command: &str) -> EngineLock {
        self.command = Some(command.into());
        self
    }

    /// The lock's URL, without user, password and options.
    pub fn name(&self) -> &str {
        self.engine.shown()
    }

    /// What the user should change although it works, such as a password in the URL: sentences, to
    /// be shown once.
    pub fn warnings(&self) -> &[String] {
        self.engine.warnings()
    }

    /// Acquires the exclusive lock; waits for as long as it takes.
    ///
    /// The calling thread sleeps until the helper thread has an answer.
    ///
    /// # Errors
    ///
    /// * [`Error::Unreachable`] when the engine does not answer, or the connection ends while the
    ///   request waits.
    /// * [`Error::Credentials`] when the engine does not let the user in.
    /// * [`Error::Unsuitable`] when the engine is not a safe place for a lock.
    /// * [`Error::Failed`] for anything else.
    pub fn lock(&self) -> Result<EngineGuard, Error> {
        self.acquire(Request::exclusive())
    }

    /// Acquires the exclusive lock if it is free now, and nobody waits for it.
    ///
    /// # Errors
    ///
    /// [`Error::WouldBlock`] when it is not; besides those of [`lock`](EngineLock::lock).
    pub fn try_lock(&self) -> Result<EngineGuard, Error> {
        self.acquire(Request::exclusive().try_once())
    }

    /// Acquires the exclusive lock; waits for at most `timeout`, which begins with the call and
    /// includes the connection to the engine.
    ///
    /// # Errors
    ///
    /// [`Error::TimedOut`], which names the holders; besides those of [`lock`](EngineLock::lock).
    pub fn try_lock_for(&self, timeout: Duration) -> Result<EngineGuard, Error> {
        self.acquire(Request::exclusive().timeout(timeout))
    }

    /// As [`try_lock_for`](EngineLock::try_lock_for), but waits until `deadline` at most.
    pub fn try_lock_until(&self, deadline: Instant) -> Result<EngineGuard, Error> {
        self.acquire(Request::exclusive().deadline(deadline))
    }

    /// As [`lock`](EngineLock::lock), but shared with other shared holders.
    pub fn lock_shared(&self) -> Result<EngineGuard, Error> {
        self.acquire(Request::shared())
    }

    /// As [`try_lock`](EngineLock::try_lock), but shared with other shared holders.
    pub fn try_lock_shared(&self) -> Result<EngineGuard, Error> {
        self.acquire(Request::shared().try_once())
    }

    /// As [`try_lock_for`](EngineLock::try_lock_for), but shared with other shared holders.
    pub fn try_lock_shared_for(&self, timeout: Duration) -> Result<EngineGuard, Error> {
        self.acquire(Request::shared().timeout(timeout))
    }

    /// As [`try_lock_until`](EngineLock::try_lock_until), but shared with other shared holders.
    pub fn try_lock_shared_until(&self, deadline: Instant) -> Result<EngineGuard, Error> {
        self.acquire(Request::shared().deadline(deadline))
    }

    /// The general form of all the above: acquires the lock as the request says.
    ///
    /// A cancelled token ends the request at every point, also while it connects. A callback
    /// ([`Request::on_wait`]) is called as for files. What the request says of threads and
    /// deadlocks has no effect.
    ///
    /// # Errors
    ///
    /// [`Error::Cancelled`] besides those of [`lock`](EngineLock::lock),
    /// [`try_lock`](EngineLock::try_lock) and [`try_lock_for`](EngineLock::try_lock_for).
    pub fn acquire<W: OnWait>(&self, request: Request<W>) -> Result<EngineGuard, Error> {
        future::acquire(self, request)
    }

    /// Acquires the exclusive lock in asynchronous code: `.await` it, under whatever runtime.
    /// Dropping the future withdraws the request.
    ///
    /// # Errors
    ///
    /// Those of [`lock`](EngineLock::lock), and [`Error::TimedOut`] where a
    /// [`timeout`](EngineFuture::timeout) was given.
    pub fn lock_async(&self) -> EngineFuture {
        self.acquire_async(Request::exclusive())
    }

    /// As [`lock_async`](EngineLock::lock_async), but shared with other shared holders.
    pub fn lock_shared_async(&self) -> EngineFuture {
        self.acquire_async(Request::shared())
    }

    /// As [`acquire`](EngineLock::acquire), in asynchronous code.
    pub fn acquire_async(&self, request: Request) -> EngineFuture {
        EngineFuture::new(self.clone(), request)
    }

    /// The holders of the lock, and the waiters in their order, of all hosts. Waits for the engine,
    /// at most for some seconds.
    ///
    /// # Errors
    ///
    /// Those of [`lock`](EngineLock::lock).
    pub fn members(&self) -> Result<Members, Error> {
        /// The engine's own limits are shorter.
        const LIMIT: Duration = Duration::from_secs(60);
        let answer = self.ask_members()?;
        serve::block_on(answer, LIMIT).unwrap_or_else(|| Err(self.no_answer()))
    }

    /// As [`members`](EngineLock::members), in asynchronous code. The engine is asked at once.
    pub fn members_async(&self) -> impl Future<Output = Result<Members, Error>> + Send + use<> {
        let lock = self.clone();
        let asked = self.ask_members();
        async move { asked?.await.unwrap_or_else(|_| Err(lock.no_answer())) }
    }

    fn ask_members(&self) -> Result<oneshot::Receiver<Result<Members, Error>>, Error> {
        let (tell, answer) = oneshot::channel();
        let engine = self.engine.clone();
        let ask = move || async move {
            let _ = tell.send(engine.members().await);
        };
        keeper::run(ask).map_err(|error| serve::no_thread(&self.engine, &error))?;
        Ok(answer)
    }

    fn no_answer(&self) -> Error {
        Error::Unreachable {
            lock: self.name().to_owned(),
            why: "no answer; try again".to_owned(),
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn command_text(&self) -> Option<String> {
        self.command.as_deref().map(str::to_owned)
    }
}

impl fmt::Debug for EngineLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineLock")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
