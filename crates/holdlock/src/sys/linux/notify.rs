//! Ends the waits of many threads at once, even from a signal handler.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::time::Duration;

use super::fork;
use super::futex;
use super::thread::ThreadId;
use super::timer::interrupt_thread;

/// The inside of a cancel token: a flag that can only be set, and the targets to notify of that.
///
/// Notifying locks no mutex and allocates nothing, so a signal handler may do it.
#[derive(Default)]
pub(crate) struct Notifier {
    set: AtomicBool,
    slots: Slots,
}

/// The slots of the targets, in a list of blocks that grows and never shrinks.
///
/// One compare-and-swap links the next block. A child that is forked meanwhile has the whole block
/// or no block, but never a half-made block of a thread that the child does not have.
#[derive(Default)]
struct Slots {
    here: [Slot; 8],
    more: AtomicPtr<Slots>,
}

/// A target: a waiting thread, a descriptor, another notifier, or a word.
///
/// `state` tells which thread may use the other fields:
///
/// | state | meaning |
/// |---|---|
/// | FREE | no thread |
/// | FILLING | the thread that registers the target |
/// | WAITING | a notifying thread, after it has set NOTIFYING |
/// | NOTIFYING | that notifying thread; the target stays until the state is WAITING again |
struct Slot {
    state: AtomicU32,
    generation: AtomicU32,
    /// A signal, which means a thread; or [`TO_DESCRIPTOR`], [`TO_NOTIFIER`] or [`TO_WORD`].
    kind: AtomicI32,
    /// The number of the thread or of the descriptor.
    number: AtomicI32,
    /// The thread's timer, the notifier, or the word.
    pointer: AtomicPtr<libc::c_void>,
}

/// These numbers are not numbers of signals.
const TO_DESCRIPTOR: i32 = 0;
const TO_NOTIFIER: i32 = -1;
const TO_WORD: i32 = -2;

const FREE: u32 = 0;
const FILLING: u32 = 1;
const WAITING: u32 = 2;
const NOTIFYING: u32 = 3;

impl Default for Slot {
    fn default() -> Slot {
        Slot {
            state: AtomicU32::new(FREE),
            generation: AtomicU32::new(0),
            kind: AtomicI32::new(0),
            number: AtomicI32::new(0),
            pointer: AtomicPtr::new(std::ptr::null_mut()),
        }
    }
}

impl Notifier {
    pub(crate) fn is_set(&self) -> bool {
        self.set.load(Ordering::SeqCst)
    }

    /// Sets the flag, gets every registered thread out of its system call, writes to every
    /// registered descriptor, and sets every registered notifier.
    pub(crate) fn set(&self) {
        // First the flag: a thread that registers too late to be notified sees it.
        self.set.store(true, Ordering::SeqCst);
        let generation = fork::generation();
        let mut slots = Some(&self.slots);
        while let Some(current) = slots {
            for slot in &current.here {
                slot.notify(generation);
            }
            slots = current.next();
        }
    }

    /// Registers the calling thread, with the signal and the timer of its wait. The caller has to
    /// check [`is_set`](Notifier::is_set) after this.
    pub(super) fn register(&self, timer: libc::timer_t, signal: libc::c_int) -> Registration<'_> {
        self.enter(ThreadId::current().0, signal, timer)
    }

    /// Registers a descriptor. Setting the flag writes 8 bytes to it, the number 1. If the flag is
    /// already set, this writes them at once.
    ///
    /// The caller keeps the descriptor open for as long as the registration may last.
    pub(crate) fn register_descriptor(&self, fd: BorrowedFd<'_>) -> Registration<'_> {
        self.enter_now(fd.as_raw_fd(), TO_DESCRIPTOR, std::ptr::null_mut())
    }

    /// Registers another notifier. Setting the flag sets that one as well; if the flag is already
    /// set, this sets it at once.
    pub(crate) fn register_notifier<'t>(&'t self, other: &'t Notifier) -> Registration<'t> {
        let other = std::ptr::from_ref(other).cast_mut().cast();
        self.enter_now(0, TO_NOTIFIER, other)
    }

    /// Registers a word, on which a thread sleeps by futex(2). Setting the flag changes the word
    /// and wakes the thread; if the flag is already set, this does so at once.
    pub(crate) fn register_word(
        self: &Arc<Notifier>,
        word: &'static AtomicU32,
    ) -> WordRegistration {
        // SAFETY: the notifier, and with it all of its slots, stays where it is as long as the
        // result has the Arc. The result drops the registration before the Arc.
        let notifier: &'static Notifier = unsafe { &*Arc::as_ptr(self) };
        let pointer = std::ptr::from_ref(word).cast_mut().cast();
        WordRegistration {
            _registration: notifier.enter_now(0, TO_WORD, pointer),
            _notifier: self.clone(),
        }
    }

    fn enter_now(&self, number: i32, kind: i32, pointer: *mut libc::c_void) -> Registration<'_> {
        let registration = self.enter(number, kind, pointer);
        if self.is_set() {
            registration.slot.notify(fork::generation());
        }
        registration
    }

    fn enter(&self, number: i32, kind: i32, pointer: *mut libc::c_void) -> Registration<'_> {
        let mut slots = &self.slots;
        loop {
            for slot in &slots.here {
                if slot.take() {
                    slot.number.store(number, Ordering::Relaxed);
                    slot.kind.store(kind, Ordering::Relaxed);
                    slot.pointer.store(pointer, Ordering::Relaxed);
                    let generation = fork::generation();
                    slot.generation.store(generation, Ordering::Relaxed);
                    slot.state.store(WAITING, Ordering::SeqCst);
                    return Registration { slot };
                }
            }
            slots = slots.next_or_new();
        }
    }
}

impl Slots {
    fn next(&self) -> Option<&Slots> {
        // SAFETY: null, or a block that `next_or_new` has linked. Only `drop` frees it, which
        // requires that there is no reference to `self`.
        unsafe { self.more.load(Ordering::SeqCst).as_ref() }
    }

    fn next_or_new(&self) -> &Slots {
        loop {
            if let Some(next) = self.next() {
                return next;
            }
            let fresh = Box::into_raw(Box::default());
            let null = std::ptr::null_mut();
            let linked =
                self.more
                    .compare_exchange(null, fresh, Ordering::SeqCst, Ordering::Relaxed);
            if linked.is_err() {
                // SAFETY: made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(fresh) });
            }
        }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        let next = *self.more.get_mut();
        if !next.is_null() {
            // SAFETY: linked by `next_or_new`. `&mut self` proves that no reference is left.
            drop(unsafe { Box::from_raw(next) });
        }
    }
}

impl Slot {
    fn take(&self) -> bool {
        self.state
            .compare_exchange(FREE, FILLING, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    fn notify(&self, generation: u32) {
        let caught =
            self.state
                .compare_exchange(WAITING, NOTIFYING, Ordering::SeqCst, Ordering::Relaxed);
        if caught.is_err() {
            return;
        }
        if self.generation.load(Ordering::Relaxed) == generation {
            let number = self.number.load(Ordering::Relaxed);
            let pointer = self.pointer.load(Ordering::Relaxed);
            match self.kind.load(Ordering::Relaxed) {
                TO_DESCRIPTOR => write_one(number),
                // SAFETY: the notifier outlives its registration, and dropping the registration
                // waits for this call.
                TO_NOTIFIER => unsafe { &*pointer.cast::<Notifier>() }.set(),
                // SAFETY: the word was registered as a reference that is valid for ever.
                TO_WORD => change(unsafe { &*pointer.cast::<AtomicU32>() }),
                signal => interrupt_thread(number, signal, pointer),
            }
        }
        // This fails if the registering thread, in a child of fork, has freed the slot as
        // abandoned.
        let ended =
            self.state
                .compare_exchange(NOTIFYING, WAITING, Ordering::SeqCst, Ordering::Relaxed);
        if ended.is_ok() {
            // The thread that registered may sleep until this. The slot stays: `set` refers to it.
            wake(&self.state);
        }
    }
}

/// Writes where that neither blocks nor fails. Async-signal-safe, and keeps errno as a signal
/// handler must.
fn write_one(descriptor: libc::c_int) {
    let one = 1_u64;
    let mut ready = libc::pollfd {
        fd: descriptor,
        events: libc::POLLOUT,
        revents: 0,
    };
    // SAFETY: a pollfd and 8 bytes that live through the calls; the registration keeps the
    // descriptor open; errno is valid in every thread. Both calls are allowed in signal handlers. A
    // pipe without a reader has POLLERR, so that no SIGPIPE comes of it.
    unsafe {
        let errno = *libc::__errno_location();
        if libc::poll(&mut ready, 1, 0) == 1 && ready.revents == libc::POLLOUT {
            libc::write(
                descriptor,
                std::ptr::from_ref(&one).cast(),
                size_of::<u64>(),
            );
        }
        *libc::__errno_location() = errno;
    }
}

/// Changes the word and wakes the thread that sleeps on it. Async-signal-safe.
fn change(word: &AtomicU32) {
    word.fetch_add(1, Ordering::SeqCst);
    wake(word);
}

/// Wakes the thread that sleeps on the word. Async-signal-safe, and keeps errno as a signal handler
/// must.
fn wake(word: &AtomicU32) {
    // SAFETY: errno is valid in every thread.
    let errno = unsafe { *libc::__errno_location() };
    futex::wake(word);
    // SAFETY: the same.
    unsafe { *libc::__errno_location() = errno };
}

/// The registration of a word, which keeps the notifier.
pub(crate) struct WordRegistration {
    /// Declared before the notifier so that it is dropped first.
    _registration: Registration<'static>,
    _notifier: Arc<Notifier>,
}

/// The registration of a target. Frees its slot when dropped.
pub(crate) struct Registration<'t> {
    slot: &'t Slot,
}

/// How long a thread sleeps until it looks again whether it is in a child of fork, where no thread
/// wakes it: a signal handler may have forked just before the sleep.
const AT_MOST: Duration = Duration::from_millis(10);

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        // A thread that is notifying now uses the timer or the descriptor for two more system
        // calls. This thread sleeps meanwhile: if it ran instead, and is a real-time thread, the
        // other one could not run on the same processor.
        while self
            .slot
            .state
            .compare_exchange(WAITING, FREE, Ordering::SeqCst, Ordering::Relaxed)
            .is_err()
        {
            // In a child of fork the notifying thread does not exist. Notifying threads of the
            // child ignore slots of other generations.
            if self.slot.generation.load(Ordering::Relaxed) != fork::generation() {
                self.slot.state.store(FREE, Ordering::SeqCst);
                return;
            }
            futex::sleep(&self.slot.state, NOTIFYING, AT_MOST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::{Barrier, Mutex};

    use super::*;

    #[test]
    fn threads_that_register_at_once_get_slots_of_their_own() {
        const THREADS: usize = 40;
        let notifier = Notifier::default();
        let (start, end) = (Barrier::new(THREADS), Barrier::new(THREADS));
        let slots = Mutex::new(HashSet::new());
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    let registration = notifier.register(std::ptr::null_mut(), 1);
                    let slot = std::ptr::from_ref(registration.slot).addr();
                    slots.lock().unwrap().insert(slot);
                    end.wait();
                });
            }
        });
        assert_eq!(slots.lock().unwrap().len(), THREADS);
    }

    #[test]
    fn a_child_gives_up_a_slot_at_which_a_thread_of_its_parent_was_notifying() {
        let notifier = Notifier::default();
        let registration = notifier.register(std::ptr::null_mut(), 1);
        let slot = registration.slot;
        // The state that fork can copy into a child.
        slot.state.store(NOTIFYING, Ordering::SeqCst);
        let parents = fork::generation().wrapping_add(1);
        slot.generation.store(parents, Ordering::SeqCst);
        drop(registration);
        assert_eq!(slot.state.load(Ordering::SeqCst), FREE);
    }
}
