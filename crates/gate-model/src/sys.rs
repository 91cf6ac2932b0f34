//! The system: a clock, futexes, and what has no part in the models.

pub(crate) mod clock {
    use std::cell::Cell;

    // loom runs all threads of a model in the test's thread.
    thread_local! {
        /// The time in nanoseconds.
        static NOW: Cell<u64> = const { Cell::new(0) };
        /// By how much each look at the clock advances it.
        static STEP: Cell<u64> = const { Cell::new(0) };
    }

    /// Starts the clock of a model's run.
    pub(crate) fn start(step: u64) {
        NOW.set(1_000_000_000);
        STEP.set(step);
    }

    pub(crate) fn nanoseconds() -> u64 {
        NOW.replace(NOW.get() + STEP.get())
    }
}

pub(crate) mod futex {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use loom::sync::{Condvar, Mutex};

    use crate::sync::atomic::{AtomicU32, Ordering};
    use crate::wait::Stopper;

    /// A thread that sleeps.
    struct Sleeping {
        word: usize,
        stopper: Option<usize>,
        woken: AtomicBool,
        wakes: Condvar,
    }

    loom::lazy_static! {
        static ref TABLE: Mutex<Vec<Arc<Sleeping>>> = Mutex::default();
    }

    pub(crate) fn wait(word: &AtomicU32, expected: u32, stopper: Option<&Stopper>) {
        let mut table = TABLE.lock().unwrap();
        // The mutex orders this look and the other thread's wake-up, as the kernel's does.
        if word.load(Ordering::Relaxed) != expected || stopper.is_some_and(Stopper::has_stopped) {
            return;
        }
        let me = Arc::new(Sleeping {
            word: std::ptr::from_ref(word).addr(),
            stopper: stopper.map(|stopper| std::ptr::from_ref(stopper).addr()),
            woken: AtomicBool::new(false),
            wakes: Condvar::new(),
        });
        table.push(me.clone());
        while !me.woken.load(Ordering::Relaxed) {
            table = me.wakes.wait(table).unwrap();
        }
    }

    /// Wakes the thread that sleeps on `word`.
    pub(crate) fn wake(word: &AtomicU32) {
        let word = std::ptr::from_ref(word).addr();
        wake_first(|sleeping| sleeping.word == word);
    }

    /// Wakes the thread that this stopper is for.
    pub(crate) fn interrupt(stopper: &Stopper) {
        let stopper = std::ptr::from_ref(stopper).addr();
        wake_first(|sleeping| sleeping.stopper == Some(stopper));
    }

    /// How many threads sleep.
    pub(crate) fn sleepers() -> usize {
        TABLE.lock().unwrap().len()
    }

    fn wake_first(is_it: impl Fn(&Sleeping) -> bool) {
        let mut table = TABLE.lock().unwrap();
        if let Some(first) = table.iter().position(|sleeping| is_it(sleeping)) {
            let sleeping = table.remove(first);
            sleeping.woken.store(true, Ordering::Relaxed);
            sleeping.wakes.notify_one();
        }
    }
}

pub(crate) mod fork {
    use std::cell::Cell;
    use std::sync::Mutex;
    use std::thread::{ThreadId, current};

    thread_local! {
        static RUN: Cell<u64> = const { Cell::new(0) };
    }

    /// Each run of a model is a process of its own.
    pub(crate) fn new_process() {
        RUN.set(RUN.get() + 1);
    }

    /// A value of which each run has its own. That of an earlier run is not dropped: loom's types
    /// cannot be used after their run.
    pub(crate) struct ForkCell<T: 'static> {
        values: Mutex<Vec<Value<T>>>,
    }

    /// The value of the last run of a test, whose thread is `test`.
    struct Value<T: 'static> {
        test: ThreadId,
        run: u64,
        value: &'static T,
    }

    impl<T> ForkCell<T> {
        pub(crate) const fn new() -> ForkCell<T> {
            ForkCell {
                values: Mutex::new(Vec::new()),
            }
        }

        pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
            let (test, run) = (current().id(), RUN.get());
            let mut values = self.values.lock().unwrap();
            let last = values.iter().position(|value| value.test == test);
            if let Some(last) = last {
                if values[last].run == run {
                    return values[last].value;
                }
                values.swap_remove(last);
            }
            let value = Box::leak(Box::new(make()));
            values.push(Value { test, run, value });
            value
        }
    }
}

pub(crate) mod identity {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Identity;
}

pub(crate) mod published {
    pub(crate) fn start_helper(
        _name: &str,
        run: impl FnOnce() + Send + 'static,
    ) -> std::io::Result<()> {
        loom::thread::spawn(run);
        Ok(())
    }
}
