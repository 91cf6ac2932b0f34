//! Requests: the mode of the lock, the limit of the wait, and what may end the wait.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::{CancelToken, Mode};

/// One request for a lock: the mode, the limit of the wait, and what may end the wait.
///
/// This is the general form beneath `lock`, `try_lock` and their relatives. `W` is the type of the
/// callback that [`on_wait`](Request::on_wait) sets. A request without one can be cloned, kept, and
/// sent to another thread.
///
/// ```
/// use holdlock::{FileLock, Request};
/// use std::time::Duration;
/// # let path = std::env::temp_dir().join(format!("holdlock-doc-request-{}", std::process::id()));
/// let lock = FileLock::open(&path)?;
/// let guard = lock.acquire(Request::shared().timeout(Duration::from_secs(5)))?;
/// # drop(guard); std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a request does nothing before it is passed to `acquire`"]
pub struct Request<W = NoCallback> {
    mode: Mode,
    limit: Limit,
    cancel: Option<CancelToken>,
    notice_deadlocks: Option<bool>,
    pub(crate) stays_in_thread: bool,
    /// The caller waits if this attempt fails.
    pub(crate) waits_later: bool,
    pub(crate) note: Option<Box<str>>,
    on_wait: W,
}

/// The callback of a request: a closure, or [`NoCallback`].
pub trait OnWait: sealed::Sealed {}

impl<W: FnMut(Waiting) -> ControlFlow<()>> OnWait for W {}
impl OnWait for NoCallback {}

/// A request without a callback.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCallback;

/// A callback while a request uses it.
pub(crate) type Callback<'r> = &'r mut dyn FnMut(Waiting) -> ControlFlow<()>;

mod sealed {
    use super::{Callback, ControlFlow, NoCallback, Waiting};

    pub trait Sealed {
        fn callback(&mut self) -> Option<Callback<'_>>;
    }

    impl<W: FnMut(Waiting) -> ControlFlow<()>> Sealed for W {
        fn callback(&mut self) -> Option<Callback<'_>> {
            Some(self)
        }
    }

    impl Sealed for NoCallback {
        fn callback(&mut self) -> Option<Callback<'_>> {
            None
        }
    }
}

/// The parts of a request, for the code that serves it.
pub(crate) struct Terms<'r> {
    pub(crate) mode: Mode,
    pub(crate) limit: Limit,
    pub(crate) cancel: Option<&'r CancelToken>,
    pub(crate) on_wait: Option<Callback<'r>>,
    /// Whether only the lock ends the wait. Such a wait is watched for deadlocks.
    pub(crate) may_wait_for_ever: bool,
    /// For the record.
    pub(crate) note: Option<&'r str>,
    /// The caller writes the record itself, when it has all that it needs.
    pub(crate) records_later: bool,
    /// Whether a fair request may pass those that wait: it has waited for its turn elsewhere.
    pub(crate) had_its_turn: bool,
    /// Whether the caller waits if this attempt, which must not wait, fails.
    pub(crate) waits_later: bool,
}

/// How long a request may wait: [`Request::limit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Not at all.
    Never,
    /// For this time, which begins when the request finds that the lock is not free: see
    /// [`Request::timeout`].
    For(Duration),
    /// Until this instant.
    Until(Instant),
    /// Without a limit.
    Forever,
}

/// The reason for a call of a request's callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waiting {
    /// The lock is not free, and the thread is about to sleep. Once per request.
    Began,
    /// A signal handler has run in the waiting thread, or may have; sometimes it is the handler of
    /// this library. A host such as Python can now run the handlers that it has deferred.
    Interrupted,
    /// A [`LockSet`](crate::LockSet) is about to sleep for its member with this number. Told each
    /// time before the set sleeps, the first time after `Began`.
    For(usize),
}

impl Request {
    /// A request that waits until it acquires the lock.
    pub fn new(mode: Mode) -> Request {
        Request {
            mode,
            limit: Limit::Forever,
            cancel: None,
            notice_deadlocks: None,
            stays_in_thread: false,
            waits_later: false,
            note: None,
            on_wait: NoCallback,
        }
    }

    /// [`Request::new`] with [`Mode::Exclusive`].
    pub fn exclusive() -> Request {
        Request::new(Mode::Exclusive)
    }

    /// [`Request::new`] with [`Mode::Shared`].
    pub fn shared() -> Request {
        Request::new(Mode::Shared)
    }
}

impl<W: OnWait> Request<W> {
    /// Do not wait: if the lock is not free, fail with
    /// [`Error::WouldBlock`](crate::Error::WouldBlock).
    pub fn try_once(mut self) -> Self {
        self.limit = Limit::Never;
        self
    }

    /// Wait without a limit, as a new request does.
    pub fn forever(mut self) -> Self {
        self.limit = Limit::Forever;
        self
    }

    /// Wait for at most `timeout`, counted from the moment at which the request finds that the lock
    /// is not free (for a lock between hosts: from the call). After that:
    /// [`Error::TimedOut`](crate::Error::TimedOut), also if `timeout` is zero.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limit = Limit::For(timeout);
        self
    }

    /// Wait until `deadline` at most; after that: [`Error::TimedOut`](crate::Error::TimedOut). A
    /// request whose deadline has passed still acquires a free lock.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Until(deadline);
        self
    }

    /// End the wait with [`Error::Cancelled`](crate::Error::Cancelled) when `token` is cancelled.
    pub fn cancel(mut self, token: &CancelToken) -> Self {
        self.cancel = Some(token.clone());
        self
    }

    /// Call `callback` when the wait begins, and each time a signal handler has run in the waiting
    /// thread. If the callback returns `Break`, the wait ends with
    /// [`Error::Cancelled`](crate::Error::Cancelled).
    ///
    /// The callback runs in the waiting thread and outside of every internal lock. If it panics,
    /// the request is withdrawn and the panic continues. A signal handler that was installed with
    /// SA_RESTART does not interrupt the wait, so the callback is not called for it.
    ///
    /// The callback may acquire other locks, and wait for them. Meanwhile the time limit of this
    /// request keeps running; it is checked when the callback returns. A request of the callback
    /// for the same lock fails at once with [`Error::Deadlock`](crate::Error::Deadlock): the thread
    /// cannot continue with the first request before the second one ends.
    ///
    /// ```
    /// use holdlock::{FileLock, Request};
    /// use std::ops::ControlFlow;
    /// # let path = std::env::temp_dir().join(format!("holdlock-doc-on-wait-{}", std::process::id()));
    /// let lock = FileLock::open(&path)?;
    /// let guard = lock.acquire(Request::exclusive().on_wait(|event| {
    ///     eprintln!("waiting: {event:?}");
    ///     ControlFlow::Continue(())
    /// }))?;
    /// # drop(guard); std::fs::remove_file(&path)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_wait<C>(self, callback: C) -> Request<C>
    where
        C: FnMut(Waiting) -> ControlFlow<()>,
    {
        Request {
            mode: self.mode,
            limit: self.limit,
            cancel: self.cancel,
            notice_deadlocks: self.notice_deadlocks,
            stays_in_thread: self.stays_in_thread,
            waits_later: self.waits_later,
            note: self.note,
            on_wait: callback,
        }
    }

    /// Promises that the thread that makes this request also releases the
    /// [`OwnedGuard`](crate::OwnedGuard), as is always true for a [`Guard`](crate::Guard).
    ///
    /// A second request of this thread that would wait for the lock then fails with
    /// [`Error::Deadlock`](crate::Error::Deadlock), and deadlocks between threads are noticed. This
    /// is for hosts whose own objects keep the guard, such as Python's. Do not call it if another
    /// thread may release the guard: a request might then fail with `Deadlock` although it could
    /// still have been served.
    pub fn stays_in_thread(mut self) -> Self {
        self.stays_in_thread = true;
        self
    }

    /// Whether to end the wait with [`Error::Deadlock`](crate::Error::Deadlock) if it is part of a
    /// deadlock: a cycle of processes or threads that wait for one another, without a way out for
    /// any of them.
    ///
    /// Deadlocks are noticed by default in waits that only the lock can end. A request with a token
    /// or a callback has to ask for it with `true`, which says that the token and the callback are
    /// not meant to end a deadlock. A request with a time limit never fails this way, because it
    /// ends by itself; only a thread that waits for a lock of its own gets `Deadlock` at once.
    ///
    /// A helper thread looks for deadlocks. The first such wait of a process starts the thread,
    /// which ends some seconds after the last one. It looks at a wait after 0.5 seconds, after 10.5
    /// seconds and then every minute, and a few more times if there may be a deadlock. Each look
    /// reads the fdinfo of this process and its ancestors, and /proc/locks only if one of them
    /// holds another lock. A note in memory (memfd_create(2), one descriptor) tells other processes
    /// that the wait has no limit.
    pub fn notice_deadlocks(mut self, notice: bool) -> Self {
        self.notice_deadlocks = Some(notice);
        self
    }

    /// Write this into the lock's record ([`LockOptions::record`](crate::LockOptions::record)): why
    /// the lock is held. `holdlock who` and the errors of others show it.
    ///
    /// About 200 bytes are kept. Control characters become escapes
    /// ([`printable`](crate::inspect::printable())). Without effect for a shared request, or if the
    /// lock has no record.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into().into_boxed_str());
        self
    }

    /// Exclusive or shared.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// How long the request may wait.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// The token that may end the wait.
    pub fn token(&self) -> Option<&CancelToken> {
        self.cancel.as_ref()
    }

    /// What [`note`](Request::note) has set.
    pub fn noted(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Calls the callback that [`on_wait`](Request::on_wait) has set. Without one, the wait goes
    /// on. This is for other kinds of locks that serve requests.
    pub fn tell(&mut self, event: Waiting) -> ControlFlow<()> {
        self.on_wait
            .callback()
            .map_or(ControlFlow::Continue(()), |call| call(event))
    }

    /// The same request for the exclusive lock.
    pub(crate) fn exclusively(mut self) -> Self {
        self.mode = Mode::Exclusive;
        self
    }

    pub(crate) fn terms(&mut self) -> Terms<'_> {
        let on_wait = self.on_wait.callback();
        let ends = self.cancel.is_some() || on_wait.is_some();
        Terms {
            mode: self.mode,
            limit: self.limit,
            cancel: self.cancel.as_ref(),
            may_wait_for_ever: self.limit == Limit::Forever
                && self.notice_deadlocks.unwrap_or(!ends),
            records_later: false,
            had_its_turn: false,
            waits_later: self.waits_later,
            on_wait,
            note: self.note.as_deref(),
        }
    }
}

impl<W> fmt::Debug for Request<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("mode", &self.mode)
            .field("limit", &self.limit)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}
