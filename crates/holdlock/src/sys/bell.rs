//! Telling waiting threads to stop waiting.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

use super::fork;
use super::interrupt::{interrupt_thread, thread_id};

/// What a cancel token rings: a flag, and the threads to get out of their calls.
///
/// Ringing takes no mutex and allocates nothing, so a signal handler may do it.
#[derive(Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    places: Places,
}

/// Where waiting threads stand in line to be told; grows, never shrinks.
#[derive(Default)]
struct Places {
    here: [Place; 8],
    more: OnceLock<Box<Places>>,
}

/// One waiting thread.
///
/// `state` says who may touch the rest:
///
/// | state | meaning |
/// |---|---|
/// | FREE | nobody's |
/// | TAKEN | its waiter is filling it in |
/// | WAITING | whoever rings may read it, after moving it to RINGING |
/// | RINGING | being read; the waiter's thread and timer stay until it is WAITING again |
struct Place {
    state: AtomicU32,
    generation: AtomicU32,
    thread: AtomicI32,
    signal: AtomicI32,
    timer: AtomicPtr<libc::c_void>,
}

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const WAITING: u32 = 2;
const RINGING: u32 = 3;

impl Default for Place {
    fn default() -> Place {
        Place {
            state: AtomicU32::new(FREE),
            generation: AtomicU32::new(0),
            thread: AtomicI32::new(0),
            signal: AtomicI32::new(0),
            timer: AtomicPtr::new(std::ptr::null_mut()),
        }
    }
}

impl Bell {
    pub(crate) fn rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }

    /// Sets the flag and gets every registered thread out of its system call.
    pub(crate) fn ring(&self) {
        // The flag first: a waiter that registers too late to be told looks at it.
        self.rung.store(true, Ordering::SeqCst);
        let generation = fork::generation();
        let mut places = Some(&self.places);
        while let Some(current) = places {
            for place in &current.here {
                place.ring(generation);
            }
            places = current.more.get().map(|more| &**more);
        }
    }

    pub(super) fn register(&self, timer: libc::timer_t, signal: libc::c_int) -> Registration<'_> {
        let mut places = &self.places;
        loop {
            for place in &places.here {
                if place.take() {
                    place.thread.store(thread_id().0, Ordering::Relaxed);
                    place.signal.store(signal, Ordering::Relaxed);
                    place.timer.store(timer, Ordering::Relaxed);
                    place
                        .generation
                        .store(fork::generation(), Ordering::Relaxed);
                    place.state.store(WAITING, Ordering::SeqCst);
                    return Registration { bell: self, place };
                }
            }
            places = places.more.get_or_init(Default::default);
        }
    }
}

impl Place {
    fn take(&self) -> bool {
        self.state
            .compare_exchange(FREE, TAKEN, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    fn ring(&self, generation: u32) {
        let caught =
            self.state
                .compare_exchange(WAITING, RINGING, Ordering::SeqCst, Ordering::Relaxed);
        if caught.is_err() {
            return;
        }
        if self.generation.load(Ordering::Relaxed) == generation {
            interrupt_thread(
                self.thread.load(Ordering::Relaxed),
                self.signal.load(Ordering::Relaxed),
                self.timer.load(Ordering::Relaxed),
            );
        }
        self.state.store(WAITING, Ordering::SeqCst);
    }
}

/// A thread's place at a bell; gives it back when dropped.
pub(super) struct Registration<'t> {
    pub(super) bell: &'t Bell,
    place: &'t Place,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        // Whoever rings at this moment still uses our timer: two system calls' time.
        while self
            .place
            .state
            .compare_exchange(WAITING, FREE, Ordering::SeqCst, Ordering::Relaxed)
            .is_err()
        {
            std::thread::yield_now();
        }
    }
}
