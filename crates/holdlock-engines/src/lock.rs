//! `EngineLock`: the name that processes of several hosts agree on.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client;
use crate::engine::Engine;
use crate::future::{self, EngineFuture};
use crate::keeper::serve;
use crate::url::Url;
use crate::{EngineGuard, Error, History, Member, Members};
use holdlock::{OnWait, Request};

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
        Ok(EngineLock::at(Engine::open(&Url::parse(url)?)?))
    }

    pub(crate) fn at(engine: Engine) -> EngineLock {
        EngineLock {
            engine,
            command: None,
        }
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

    /// As [`name`](EngineLock::name), for programs: the lock's name behind the `#` is as it is, and
    /// may have control characters. Messages show those in escapes.
    pub fn exact_name(&self) -> String {
        let (shown, name) = (self.engine.shown(), self.engine.lock_name());
        let escaped = holdlock::inspect::printable(name).to_string();
        let place = shown.strip_suffix(&escaped).unwrap_or(shown);
        format!("{place}{name}")
    }

    /// The engine, in one word: `postgres`, `etcd` or `redis`.
    pub fn kind(&self) -> &'static str {
        self.engine.kind()
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

    /// Acquires the exclusive lock if it is free now, and nobody waits for it. It waits for nobody
    /// but the server: if that is silent, up to `connect_timeout` (5 s) for the connection to each
    /// host of the URL (PostgreSQL: to each address of each host), and up to 5 s for each of the
    /// few questions after that. [`try_lock_for`](EngineLock::try_lock_for) has a limit for all.
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
        serve::ask(&self.engine, |engine| async move { engine.members().await })
    }

    /// As [`members`](EngineLock::members), in asynchronous code. The engine is asked at once.
    /// Dropping the future ends the question.
    pub fn members_async(&self) -> impl Future<Output = Result<Members, Error>> + Send + use<> {
        serve::ask_async(self.engine.clone(), |engine| async move {
            engine.members().await
        })
    }

    /// Whether a process of this host has a connection to a server of the URL. What a
    /// [`Member`] says of its process is only what the writer of its record says; each client of
    /// the server is known by its socket, in /proc. Waits for the name service, and reads /proc.
    ///
    /// A process in a network namespace of its own that uses a Unix socket is not known.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when the caller may not see the descriptors of the process.
    pub fn has_client(&self, pid: u32) -> Result<bool, Error> {
        client::is_among_those_of(&self.engine, pid)
    }

    /// Ends the session or the lease of the holder with this token, and returns what was known of
    /// that holder. `None` if no holder has this token: then nothing was done. A holder with
    /// another token is never hit, however late the call is.
    ///
    /// The holder learns at once that the lock is lost, and needs some time to stop its work. The
    /// next holder may begin before that: only the token protects what both write.
    ///
    /// # Errors
    ///
    /// Those of [`lock`](EngineLock::lock); [`Error::Credentials`] when the engine does not let
    /// this user end the session.
    pub fn break_holder(&self, token: u64) -> Result<Option<Member>, Error> {
        serve::change(&self.engine, move |engine| async move {
            engine.break_holder(token).await
        })
    }

    /// As [`break_holder`](EngineLock::break_holder), in asynchronous code. The engine is asked at
    /// once.
    pub fn break_holder_async(
        &self,
        token: u64,
    ) -> impl Future<Output = Result<Option<Member>, Error>> + Send + use<> {
        serve::change_async(self.engine.clone(), move |engine| async move {
            engine.break_holder(token).await
        })
    }

    /// What the engine remembers of earlier holders, as they have told it by
    /// [`EngineGuard::record_run`].
    ///
    /// # Errors
    ///
    /// Those of [`lock`](EngineLock::lock); [`Error::Unsuitable`] when the engine has no place to
    /// remember it ([`EngineServer::init`](crate::EngineServer::init)).
    pub fn last_run(&self) -> Result<History, Error> {
        serve::ask(
            &self.engine,
            |engine| async move { engine.last_run().await },
        )
    }

    /// As [`last_run`](EngineLock::last_run), in asynchronous code. The engine is asked at once.
    pub fn last_run_async(&self) -> impl Future<Output = Result<History, Error>> + Send + use<> {
        serve::ask_async(self.engine.clone(), |engine| async move {
            engine.last_run().await
        })
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
