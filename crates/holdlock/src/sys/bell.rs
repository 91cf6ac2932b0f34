//! Telling waiting threads to stop waiting.

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
///
/// The next block is put in its place by one compare-and-swap: a child that is forked meanwhile
/// finds it or not, and never one that is half made by a thread which the child does not have.
#[derive(Default)]
struct Places {
    here: [Place; 8],
    more: AtomicPtr<Places>,
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
            places = current.next();
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
                    return Registration { place };
                }
            }
            places = places.next_or_new();
        }
    }
}

impl Places {
    fn next(&self) -> Option<&Places> {
        // SAFETY: null, or a block that `next_or_new` has put there and that only `drop` takes
        // away, for which there must be no reference to `self`.
        unsafe { self.more.load(Ordering::SeqCst).as_ref() }
    }

    fn next_or_new(&self) -> &Places {
        loop {
            if let Some(next) = self.next() {
                return next;
            }
            let fresh = Box::into_raw(Box::default());
            let null = std::ptr::null_mut();
            let put = self
                .more
                .compare_exchange(null, fresh, Ordering::SeqCst, Ordering::Relaxed);
            if put.is_err() {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let next = *self.more.get_mut();
        if !next.is_null() {
            // SAFETY: put there by `next_or_new`; `&mut self` says that no reference is left.
            drop(unsafe { Box::from_raw(next) });
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
        // Unless the waiter, in a child of fork, took the place for abandoned.
        let _ = self
            .state
            .compare_exchange(RINGING, WAITING, Ordering::SeqCst, Ordering::Relaxed);
    }
}

/// A thread's place at a bell; gives it back when dropped.
pub(super) struct Registration<'t> {
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
            // In a child of fork the thread that was ringing does not exist. One of the child's
            // own leaves places of other generations alone.
            if self.place.generation.load(Ordering::Relaxed) != fork::generation() {
                self.place.state.store(FREE, Ordering::SeqCst);
                return;
            }
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Barrier, Mutex};

    use super::*;

    #[test]
    fn threads_that_come_at_once_get_places_of_their_own() {
        const THREADS: usize = 40;
        let bell = Bell::default();
        let (start, end) = (Barrier::new(THREADS), Barrier::new(THREADS));
        let places = Mutex::new(HashSet::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    let registration = bell.register(std::ptr::null_mut(), 0);
                    let place = std::ptr::from_ref(registration.place).addr();
                    places.lock().unwrap().insert(place);
                    end.wait();
                });
            }
        });
        assert_eq!(places.lock().unwrap().len(), THREADS);
    }

    #[test]
    fn a_child_gives_up_a_place_at_which_a_thread_of_its_parent_was_ringing() {
        let bell = Bell::default();
        let registration = bell.register(std::ptr::null_mut(), 0);
        let place = registration.place;
        // As fork finds it, and as it is in the child.
        place.state.store(RINGING, Ordering::SeqCst);
        let parents = fork::generation().wrapping_add(1);
        place.generation.store(parents, Ordering::SeqCst);
        drop(registration);
        assert_eq!(place.state.load(Ordering::SeqCst), FREE);
    }
}
