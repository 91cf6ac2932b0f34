//! Waiting for a lock until it is acquired or the request ends.

pub(crate) mod callback;
pub(crate) mod helper_thread;

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::inspect::Deadlock;
use crate::request::{Callback, Limit, Terms, Waiting};
use crate::sys::call::Listening;
use crate::sys::futex::{self, Slept};
use crate::sys::interrupt::Interrupt;
use crate::sys::published::{self, WaitNote};
use crate::{CancelToken, Error, Mode};
use callback::Key;

/// Why a wait ended without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The request may not wait.
    Busy,
    TimedOut,
    Cancelled,
    /// This thread waits for a lock that it holds itself.
    Deadlock,
    /// The wait is part of a cycle.
    Cycle,
}

/// The lock that a request waits for.
pub(crate) trait Awaited {
    /// Identifies the lock, to find other requests for it.
    fn key(&self) -> Key;

    /// Whether a signal may end the wait.
    fn may_use_signals(&self) -> bool;

    /// Registers a wait that only the lock can end with the deadlock watcher. The registration
    /// lasts until the result is dropped.
    fn watch(&self, mode: Mode, began: Instant) -> Box<dyn Watched>;
}

/// A wait that is registered with the deadlock watcher.
pub(crate) trait Watched {
    /// The deadlock that this wait is part of, once the watcher has found it.
    fn verdict(&self) -> Option<&Deadlock>;
}

/// The wait of one request. Costs nothing until the request has to wait.
pub(crate) struct Wait<'r> {
    limit: Limit,
    /// How a request that may not wait ends.
    stop_at_once: Stop,
    cancel: Option<&'r CancelToken>,
    on_wait: Option<Callback<'r>>,
    mode: Mode,
    lock: &'r dyn Awaited,
    notice_deadlocks: bool,
    had_its_turn: bool,
    waits_later: bool,
    begun: Option<Begun<'r>>,
    /// Attempts so far of a request that may not wait.
    attempts: u32,
    /// The panic of the callback.
    panic: Option<Box<dyn Any + Send>>,
}

struct Begun<'r> {
    at: Instant,
    deadline: Option<Instant>,
    /// The callback was told that the wait has begun.
    reported: bool,
    /// Declared before `interrupt` so that it is dropped first: dropping the interrupt makes sure
    /// that no signal of the watcher is left over.
    watch: Option<Box<dyn Watched>>,
    /// None: nothing can end the wait early, or signals cannot be used.
    interrupt: Option<Interrupt<'r>>,
}

/// How a blocking lock call ended.
pub(crate) enum KernelWait {
    Locked,
    /// Signals cannot be used in this process; the caller has to wait in another way.
    NoSignals,
    /// The `cap` of `sleep_in_kernel` has passed, but not the request's own limit.
    Capped,
}

/// Why a blocking lock call failed.
pub(crate) enum KernelError {
    Stop(Stop),
    Io(std::io::Error),
}

impl<'r> Wait<'r> {
    pub(crate) fn new<'t: 'r>(terms: Terms<'t>, lock: &'r dyn Awaited) -> Wait<'r> {
        let (limit, stop_at_once) = match terms.limit {
            Limit::For(Duration::ZERO) => (Limit::Never, Stop::TimedOut),
            limit => (limit, Stop::Busy),
        };
        Wait {
            limit,
            stop_at_once,
            cancel: terms.cancel,
            // A coercion: it shortens the lifetime of what the callback borrows.
            on_wait: match terms.on_wait {
                Some(callback) => Some(callback as Callback<'r>),
                None => None,
            },
            mode: terms.mode,
            lock,
            notice_deadlocks: terms.may_wait_for_ever,
            had_its_turn: terms.had_its_turn,
            waits_later: terms.waits_later,
            begun: None,
            attempts: 0,
            panic: None,
        }
    }

    /// Counts the time from `began` on: the request has waited elsewhere before.
    pub(crate) fn since(mut self, began: Instant) -> Wait<'r> {
        self.begun = Some(self.begun_at(began));
        self
    }

    pub(crate) fn may_sleep(&self) -> bool {
        self.limit != Limit::Never
    }

    /// Whether a request that must not wait should look again for a moment before it fails. If the
    /// caller waits in that case, the time is better spent in the queue.
    pub(crate) fn may_look_again(&self) -> bool {
        !self.may_sleep() && !self.waits_later
    }

    /// Whether a time limit ends the request at last.
    pub(crate) fn has_limit(&self) -> bool {
        self.limit != Limit::Forever
    }

    /// Whether a fair request may pass those that wait.
    pub(crate) fn had_its_turn(&self) -> bool {
        self.had_its_turn
    }

    /// How a request that may not sleep ends.
    pub(crate) fn stop_at_once(&self) -> Stop {
        self.stop_at_once
    }

    /// The time spent waiting.
    pub(crate) fn waited(&self) -> Duration {
        self.begun
            .as_ref()
            .map_or(Duration::ZERO, |begun| begun.at.elapsed())
    }

    /// The lock is not free: starts the clock and tells the callback. Later calls do neither.
    pub(crate) fn begin(&mut self) -> Result<(), Stop> {
        if callback::is_awaited(|| self.lock.key()) && self.limit != Limit::Never {
            return Err(Stop::Deadlock);
        }
        if self.start_clock()? {
            self.call_back(Waiting::Began)?;
            if self.deadline().is_some() || self.cancel.is_some() {
                self.prepare();
            }
        }
        self.check()
    }

    /// An attempt has failed because other processes changed the path, and the next attempt follows
    /// at once. Checks the request's limit, and does not tell the callback.
    pub(crate) fn before_retry(&mut self) -> Result<(), Stop> {
        if !self.may_sleep() {
            self.attempts += 1;
            return if self.attempts < MAX_ATTEMPTS {
                Ok(())
            } else {
                Err(self.stop_at_once)
            };
        }
        if self.begun.is_none() {
            self.begun = Some(self.begun_at(Instant::now()));
        }
        self.check()
    }

    /// Starts the clock. Whether the callback has to be told now that the wait has begun.
    fn start_clock(&mut self) -> Result<bool, Stop> {
        if self.limit == Limit::Never {
            return Err(self.stop_at_once);
        }
        let mut begun = match self.begun.take() {
            Some(begun) => begun,
            None => self.begun_at(Instant::now()),
        };
        let reported = std::mem::replace(&mut begun.reported, true);
        self.begun = Some(begun);
        Ok(!reported)
    }

    fn begun_at(&self, at: Instant) -> Begun<'r> {
        Begun {
            at,
            deadline: match self.limit {
                Limit::Never => Some(at),
                // An instant that the clock cannot represent means no deadline.
                Limit::For(duration) => at.checked_add(duration),
                Limit::Until(deadline) => Some(deadline),
                Limit::Forever => None,
            },
            reported: false,
            interrupt: None,
            watch: None,
        }
    }

    /// Registers a wait without a limit with the deadlock watcher.
    fn watch(&mut self) {
        if let Some(begun) = &mut self.begun
            && self.notice_deadlocks
            && self.lock.may_use_signals()
            && begun.watch.is_none()
        {
            begun.watch = Some(self.lock.watch(self.mode, begun.at));
        } else if self.on_wait.is_some() && !self.notice_deadlocks {
            // /proc does not show to other processes that the callback may end the wait.
            published::set_wait(WaitNote::MayEnd);
        }
    }

    /// The cycle because of which the wait was ended.
    pub(crate) fn cycle(&self) -> Option<Deadlock> {
        let watch = self.begun.as_ref()?.watch.as_ref()?;
        watch.verdict().cloned()
    }

    fn prepare(&mut self) {
        let cancel = self.cancel;
        if let Some(begun) = &mut self.begun
            && begun.interrupt.is_none()
            && self.lock.may_use_signals()
        {
            begun.interrupt = Interrupt::prepare(cancel.map(|token| &**token.notifier()));
        }
    }

    fn call_back(&mut self, what: Waiting) -> Result<(), Stop> {
        let Some(callback) = &mut self.on_wait else {
            return Ok(());
        };
        // A panic must not leave an entry in a queue. Therefore it ends the wait as a Break does,
        // and is resumed after the queues are cleaned up.
        let key = self.lock.key();
        let reported = AssertUnwindSafe(|| callback::while_awaited(key, || callback(what)));
        match std::panic::catch_unwind(reported) {
            Ok(ControlFlow::Continue(())) => Ok(()),
            Ok(ControlFlow::Break(())) => Err(Stop::Cancelled),
            Err(panic) => {
                self.panic = Some(panic);
                Err(Stop::Cancelled)
            }
        }
    }

    /// Resumes the panic of the callback, if there was one. Before that it releases a lock that the
    /// request has got nevertheless.
    pub(crate) fn resume_callback_panic<T>(
        &mut self,
        result: Result<T, Error>,
        release: impl FnOnce(T),
    ) -> Result<T, Error> {
        match self.panic.take() {
            None => result,
            Some(panic) => {
                let _ = result.map(release);
                std::panic::resume_unwind(panic)
            }
        }
    }

    /// Checks whether the wait has to end now.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        if self.cancel.is_some_and(CancelToken::is_cancelled) {
            return Err(Stop::Cancelled);
        }
        if let Some(Begun {
            watch: Some(watch), ..
        }) = &self.begun
            && watch.verdict().is_some()
        {
            return Err(Stop::Cycle);
        }
        match self.deadline() {
            Some(deadline) if Instant::now() >= deadline => Err(Stop::TimedOut),
            _ => Ok(()),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.begun.as_ref().and_then(|begun| begun.deadline)
    }

    fn interrupt(&self) -> Option<&Interrupt<'r>> {
        self.begun.as_ref().and_then(|b| b.interrupt.as_ref())
    }

    /// False if the kernel refuses to set the timer.
    fn set_timer(&self, until: Option<Instant>) -> bool {
        match (self.interrupt(), until) {
            (None, _) => true,
            (Some(interrupt), Some(until)) => interrupt.at(until),
            (Some(interrupt), None) => {
                interrupt.never();
                true
            }
        }
    }

    /// Whether something may end the wait early although signals cannot be used.
    fn lacks_signals(&self) -> bool {
        (self.deadline().is_some() || self.cancel.is_some()) && self.interrupt().is_none()
    }

    /// Sleeps in the kernel's queue by the system call `sleep` until the call succeeds, the request
    /// ends or `cap` has passed. Call this after [`begin`](Wait::begin).
    pub(crate) fn sleep_in_kernel(
        &mut self,
        cap: Option<Instant>,
        sleep: impl Fn() -> std::io::Result<()>,
    ) -> Result<KernelWait, KernelError> {
        if cap.is_some() {
            self.prepare();
        }
        let until = [self.deadline(), cap].into_iter().flatten().min();
        if cap.is_none() {
            self.watch();
        }
        let listening = Listening::begin();
        loop {
            // In each round, because the callback may have changed the signals and the timer.
            if self.lacks_signals() || cap.is_some() && self.interrupt().is_none() {
                return Ok(KernelWait::NoSignals);
            }
            listening.reset();
            if !self.set_timer(until) {
                if let Some(begun) = &mut self.begun {
                    begun.interrupt = None;
                }
                return Ok(KernelWait::NoSignals);
            }
            // After the reset and the timer: if a signal came before them, its cause is found here.
            self.check().map_err(KernelError::Stop)?;
            if cap.is_some_and(|cap| Instant::now() >= cap) {
                return Ok(KernelWait::Capped);
            }
            match sleep() {
                Ok(()) => return Ok(KernelWait::Locked),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                    // Go back into the queue at once: mostly the request then keeps its position.
                    self.after_interruption().map_err(KernelError::Stop)?;
                }
                Err(error) => return Err(KernelError::Io(error)),
            }
        }
    }

    /// Sleeps until `word` differs from `asleep` or the request ends. Call this after
    /// [`begin`](Wait::begin).
    pub(crate) fn sleep_on_word(&mut self, word: &AtomicU32, asleep: u32) -> Result<(), Stop> {
        self.sleep_on_word_while(word, asleep, || true)
    }

    /// As [`sleep_on_word`](Wait::sleep_on_word), but also ends, after the callback, if `lasts` is
    /// false.
    pub(crate) fn sleep_on_word_while(
        &mut self,
        word: &AtomicU32,
        asleep: u32,
        lasts: impl Fn() -> bool,
    ) -> Result<(), Stop> {
        self.watch();
        let listening = Listening::begin();
        while word.load(Ordering::Acquire) == asleep && lasts() {
            listening.reset();
            self.set_timer(self.deadline());
            self.check()?;
            let left = self.left();
            let slice = if self.lacks_signals() && self.cancel.is_some() {
                // A cancellation cannot wake this thread: check for it from time to time.
                Some(left.map_or(POLL_INTERVAL, |left| left.min(POLL_INTERVAL)))
            } else {
                left
            };
            let slept = futex::wait(word, asleep, slice);
            if slept == Slept::Interrupted && word.load(Ordering::Acquire) == asleep {
                self.after_interruption()?;
            }
        }
        Ok(())
    }

    /// Sleeps for a short time, where there is no better way to wait.
    pub(crate) fn sleep_briefly(&mut self) -> Result<(), Stop> {
        self.check()?;
        let nobody_wakes = AtomicU32::new(0);
        let left = self.left();
        let slice = left.map_or(POLL_INTERVAL, |left| left.min(POLL_INTERVAL));
        if futex::wait(&nobody_wakes, 0, Some(slice)) == Slept::Interrupted {
            self.after_interruption()?;
        }
        Ok(())
    }

    /// The time left until the deadline.
    fn left(&self) -> Option<Duration> {
        self.deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Called after a signal. Fails if the request has to end; otherwise it was a signal of the
    /// program, and the callback is called.
    fn after_interruption(&mut self) -> Result<(), Stop> {
        self.check()?;
        if self.on_wait.is_none() {
            return Ok(());
        }
        // The callback may wait for another lock with the same timer, or change the handling of the
        // signal. Therefore this wait gives both up for the time of the call.
        let interrupt = self.begun.as_mut().and_then(|begun| begun.interrupt.take());
        let was_prepared = interrupt.is_some();
        drop(interrupt);
        let reported = self.call_back(Waiting::Interrupted);
        if was_prepared {
            self.prepare();
        }
        reported
    }
}

/// How often a request that may not wait tries again when other processes change the path.
const MAX_ATTEMPTS: u32 = 100;
/// How often a wait without signals checks whether it has to end.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
