//! Waiting for a lock, until it is acquired or the request ends.

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
use crate::{CancelToken, Error, Mode};
use callback::Key;

/// Why a wait ended without the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// There was to be no wait.
    Busy,
    TimedOut,
    Cancelled,
    /// This thread waits for itself.
    Deadlock,
    /// The wait closes a cycle.
    Cycle,
}

/// The lock that a request waits for.
pub(crate) trait Awaited {
    /// Tells whether another request is for the same lock.
    fn key(&self) -> Key;

    /// Whether a signal may end the wait.
    fn may_use_signals(&self) -> bool;

    /// Registers a wait that only the lock can end with the deadlock watcher, until the result is
    /// dropped.
    fn watch(&self, mode: Mode, began: Instant) -> Box<dyn Watched>;
}

/// A wait that the deadlock watcher looks at.
pub(crate) trait Watched {
    /// The deadlock that the wait is part of, once that is known.
    fn verdict(&self) -> Option<&Deadlock>;
}

/// A request on its way. Costs nothing until it has to wait.
pub(crate) struct Wait<'r> {
    limit: Limit,
    /// What ends a request that has no time to wait.
    refusal: Stop,
    cancel: Option<&'r CancelToken>,
    on_wait: Option<Callback<'r>>,
    mode: Mode,
    lock: &'r dyn Awaited,
    notice_deadlocks: bool,
    begun: Option<Begun<'r>>,
    /// Attempts of a request that is not to wait.
    attempts: u32,
    /// What the callback panicked with.
    panic: Option<Box<dyn Any + Send>>,
}

struct Begun<'r> {
    at: Instant,
    deadline: Option<Instant>,
    /// The caller knows that the wait has begun.
    reported: bool,
    /// Before the interrupt: that sees to it that no signal is left over.
    watch: Option<Box<dyn Watched>>,
    /// None: nothing can end the wait early, or signals cannot be used.
    interrupt: Option<Interrupt<'r>>,
}

/// What a blocking call in the kernel came to.
pub(crate) enum KernelWait {
    Locked,
    /// Signals cannot be used in this process; the caller finds another way.
    NoSignals,
    /// The cap given to `kernel` has passed, the request's own limit has not.
    Capped,
}

/// Why a kernel wait failed.
pub(crate) enum KernelError {
    Stop(Stop),
    Io(std::io::Error),
}

impl<'r> Wait<'r> {
    pub(crate) fn new<'t: 'r>(terms: Terms<'t>, lock: &'r dyn Awaited) -> Wait<'r> {
        let (limit, refusal) = match terms.limit {
            Limit::For(Duration::ZERO) => (Limit::Never, Stop::TimedOut),
            limit => (limit, Stop::Busy),
        };
        Wait {
            limit,
            refusal,
            cancel: terms.cancel,
            // Coerced, which shortens the life of what the callback borrows.
            on_wait: match terms.on_wait {
                Some(callback) => Some(callback as Callback<'r>),
                None => None,
            },
            mode: terms.mode,
            lock,
            notice_deadlocks: terms.may_wait_for_ever,
            begun: None,
            attempts: 0,
            panic: None,
        }
    }

    pub(crate) fn may_sleep(&self) -> bool {
        self.limit != Limit::Never
    }

    /// What ends a request that may not sleep.
    pub(crate) fn refusal(&self) -> Stop {
        self.refusal
    }

    /// Time spent waiting.
    pub(crate) fn waited(&self) -> Duration {
        self.begun
            .as_ref()
            .map_or(Duration::ZERO, |begun| begun.at.elapsed())
    }

    /// The lock is not free: starts the clock and tells the caller, once.
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

    /// An attempt has failed because of what others did to the path meanwhile, and the next one
    /// follows at once. The caller is told nothing, but the request's limit holds.
    pub(crate) fn before_retry(&mut self) -> Result<(), Stop> {
        if !self.may_sleep() {
            self.attempts += 1;
            return if self.attempts < MAX_ATTEMPTS {
                Ok(())
            } else {
                Err(self.refusal)
            };
        }
        if self.begun.is_none() {
            self.begun = Some(self.begun_now());
        }
        self.check()
    }

    /// Whether the caller is to be told now that the wait has begun.
    fn start_clock(&mut self) -> Result<bool, Stop> {
        if self.limit == Limit::Never {
            return Err(self.refusal);
        }
        let mut begun = match self.begun.take() {
            Some(begun) => begun,
            None => self.begun_now(),
        };
        let reported = std::mem::replace(&mut begun.reported, true);
        self.begun = Some(begun);
        Ok(!reported)
    }

    fn begun_now(&self) -> Begun<'r> {
        let at = Instant::now();
        Begun {
            at,
            deadline: match self.limit {
                Limit::Never => Some(at),
                // An instant past the clock's end is for ever.
                Limit::For(duration) => at.checked_add(duration),
                Limit::Until(deadline) => Some(deadline),
                Limit::Forever => None,
            },
            reported: false,
            interrupt: None,
            watch: None,
        }
    }

    /// Registers a wait that may last for ever with the deadlock watcher.
    fn watch(&mut self) {
        if let Some(begun) = &mut self.begun
            && self.notice_deadlocks
            && self.lock.may_use_signals()
            && begun.watch.is_none()
        {
            begun.watch = Some(self.lock.watch(self.mode, begun.at));
        }
    }

    /// The cycle for which the wait was ended.
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
            begun.interrupt = Interrupt::prepare(cancel.map(CancelToken::notifier));
        }
    }

    fn call_back(&mut self, what: Waiting) -> Result<(), Stop> {
        let Some(callback) = &mut self.on_wait else {
            return Ok(());
        };
        // A panic must not leave the queue with a place that nobody stands in: it ends the wait
        // like a Break, and goes on when all is tidied up.
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

    /// If the callback panicked, calls `release` for a lock that came all the same, and goes on
    /// with the panic.
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

    /// Whether the wait has to end now.
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

    /// False where the kernel does not let the timer be set.
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

    /// Whether something may end the wait early but signals cannot be used for it.
    fn lacks_signals(&self) -> bool {
        (self.deadline().is_some() || self.cancel.is_some()) && self.interrupt().is_none()
    }

    /// Sleeps in the kernel's queue by the system call `sleep`, until that succeeds, the request
    /// ends or `cap` has passed. Call after [`begin`](Wait::begin).
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
            // Each time, also the next two: the callback may have changed what it depends on.
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
            // After both: a signal that came before them told of what is seen here.
            self.check().map_err(KernelError::Stop)?;
            if cap.is_some_and(|cap| Instant::now() >= cap) {
                return Ok(KernelWait::Capped);
            }
            match sleep() {
                Ok(()) => return Ok(KernelWait::Locked),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
                    // At once back into the queue: that mostly keeps the place.
                    self.after_interruption().map_err(KernelError::Stop)?;
                }
                Err(error) => return Err(KernelError::Io(error)),
            }
        }
    }

    /// Sleeps until `word` is not `asleep` any more or the request ends. Call
    /// after [`begin`](Wait::begin).
    pub(crate) fn sleep_on_word(&mut self, word: &AtomicU32, asleep: u32) -> Result<(), Stop> {
        self.watch();
        let listening = Listening::begin();
        while word.load(Ordering::Acquire) == asleep {
            listening.reset();
            self.set_timer(self.deadline());
            self.check()?;
            let left = self.left();
            let slice = if self.lacks_signals() && self.cancel.is_some() {
                // Nobody can wake us for a cancellation: look again now and then.
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

    /// A short sleep, where there is no better way to wait.
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

    /// The time to the deadline.
    fn left(&self) -> Option<Duration> {
        self.deadline()
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// After an interruption: the request's end, or else a signal of the host's.
    fn after_interruption(&mut self) -> Result<(), Stop> {
        self.check()?;
        if self.on_wait.is_none() {
            return Ok(());
        }
        // The callback may wait for another lock, with the same timer, or take our signal for
        // itself. So this wait gives both up, and prepares anew.
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

/// How often a request that is not to wait tries again when others change the path meanwhile.
const MAX_ATTEMPTS: u32 = 100;
/// How often a cancellation is looked for where no signal can tell of it.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
