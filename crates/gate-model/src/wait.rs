//! How a request waits, and why its wait ends.

use std::marker::PhantomData;

use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::sys::futex;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The request may not wait.
    Busy,
    /// The limit has passed, or the token was cancelled: a model does not tell them apart.
    Stopped,
    Deadlock,
}

/// Ends a request's wait at any moment, as a limit or a cancel token does.
#[derive(Default)]
pub(crate) struct Stopper {
    stopped: AtomicBool,
}

impl Stopper {
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        futex::interrupt(self);
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

/// The wait of one request.
pub(crate) struct Wait<'r> {
    may_sleep: bool,
    stopper: Option<std::sync::Arc<Stopper>>,
    request: PhantomData<&'r ()>,
}

impl Wait<'_> {
    /// Waits without limit.
    pub(crate) fn forever() -> Self {
        Wait {
            may_sleep: true,
            stopper: None,
            request: PhantomData,
        }
    }

    pub(crate) fn until(stopper: &std::sync::Arc<Stopper>) -> Self {
        Wait {
            stopper: Some(stopper.clone()),
            ..Wait::forever()
        }
    }

    pub(crate) fn never() -> Self {
        Wait {
            may_sleep: false,
            ..Wait::forever()
        }
    }

    pub(crate) fn may_sleep(&self) -> bool {
        self.may_sleep
    }

    pub(crate) fn stop_at_once(&self) -> Stop {
        Stop::Busy
    }

    pub(crate) fn begin(&mut self) -> Result<(), Stop> {
        match &self.stopper {
            Some(stopper) if stopper.has_stopped() => Err(Stop::Stopped),
            _ => Ok(()),
        }
    }

    pub(crate) fn sleep_on_word(&mut self, word: &AtomicU32, asleep: u32) -> Result<(), Stop> {
        while word.load(Ordering::Acquire) == asleep {
            self.begin()?;
            futex::wait(word, asleep, self.stopper.as_deref());
        }
        Ok(())
    }
}

pub(crate) mod callback {
    use crate::Family;
    use crate::sys::identity::Identity;

    pub(crate) struct Key;

    impl Key {
        pub(crate) fn new(_: usize, _: Family, _: Option<Identity>) -> Key {
            Key
        }
    }
}
