//! Noticing fork(2), and keeping locks out of children.
//!
//! A child of fork has copies of all descriptors and of all memory, but only the thread that
//! forked. Three things follow:
//!
//! * a **generation** number, different in parent and child, is read from a page
//!   which the kernel wipes in a child (MADV_WIPEONFORK): no system call;
//! * a [`ForkCell`] holds one value for each generation, so that a child never
//!   meets a mutex that was locked by a thread it does not have;
//! * a handler of pthread_atfork takes the descriptors of lock files away in the child, before
//!   fork returns there: see `lock_fd`.
//!
//! The handler is registered when the program (or the shared library) is loaded, so that no fork
//! can be under way at that moment. Nothing here waits for another thread, neither in the handler
//! nor before: a child that was forked at any moment finds a state in which it can go on.
//!
//! A child made by a bare clone(2) or by `_Fork` runs no atfork handlers: it owns
//! nothing either (the page is wiped), but keeps the descriptors until exec or exit.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use super::lock_fd;

/// The last generation given out along this process's line of ancestors.
static LAST: AtomicU32 = AtomicU32::new(0);
/// The wiped page, or null before the first use. It is never unmapped.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

/// A number that differs between a process and the children it forked.
#[inline]
pub(crate) fn generation() -> u32 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: a non-null PAGE points to a mapping that is never unmapped; any bytes there,
        // also wiped ones, are a valid AtomicU32.
        let generation = unsafe { &*page }.load(Ordering::Relaxed);
        if generation != 0 {
            return generation;
        }
    }
    renew()
}

#[cold]
fn renew() -> u32 {
    let page = page();
    let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    match page.compare_exchange(0, fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => fresh,
        Err(theirs) => theirs,
    }
}

/// The page, mapped at the first call.
fn page() -> &'static AtomicU32 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: as in `generation`.
        return unsafe { &*page };
    }
    // First the handler, then the page: a child that finds a page has run the handler.
    register();
    const SIZE: usize = 4096;
    // SAFETY: an anonymous private mapping at an address of the kernel's choice.
    let fresh = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if fresh == libc::MAP_FAILED {
        // No page to be had: a plain word does, since the handler sets it too.
        static PLAIN: AtomicU32 = AtomicU32::new(0);
        let plain = std::ptr::from_ref(&PLAIN).cast_mut();
        let _ = PAGE.compare_exchange(
            std::ptr::null_mut(),
            plain,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    } else {
        // SAFETY: the mapping made above. Kernels before 4.14 refuse the advice; then the handler
        // alone tells.
        unsafe { libc::madvise(fresh, SIZE, libc::MADV_WIPEONFORK) };
        let ours = PAGE.compare_exchange(
            std::ptr::null_mut(),
            fresh.cast(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if ours.is_err() {
            // SAFETY: nobody has seen this mapping.
            unsafe { libc::munmap(fresh, SIZE) };
        }
    }
    // SAFETY: PAGE is not null any more, see `generation`.
    unsafe { &*PAGE.load(Ordering::Acquire) }
}

/// Calls [`register`] when the program, or the shared library that this is part of, is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = register;

/// Registers the handler. Threads that come here at the same time may register it twice, which
/// does no harm; a thread that waited for another one could wait in vain in a child.
extern "C" fn register() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handler stays for the life of the process, or of the shared library, and
        // makes only calls that are allowed between fork and exec.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        REGISTERED.store(failed == 0, Ordering::Release);
    }
}

extern "C" fn in_child() {
    let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    page().store(fresh, Ordering::Release);
    lock_fd::give_up_in_child();
}

/// A value of which each process has its own: made afresh in a child of fork.
///
/// What was there before the fork is neither used nor dropped in the child.
pub(crate) struct ForkCell<T> {
    current: AtomicPtr<Stamped<T>>,
}

struct Stamped<T> {
    generation: u32,
    value: T,
}

impl<T: Send + Sync> ForkCell<T> {
    pub(crate) const fn new() -> ForkCell<T> {
        ForkCell {
            current: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    #[inline]
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        let generation = generation();
        let current = self.current.load(Ordering::Acquire);
        if !current.is_null() {
            // SAFETY: a value once stored is freed by Drop alone, which cannot run during `&self`:
            // `renew` leaks what it replaces.
            let stamped = unsafe { &*current };
            if stamped.generation == generation {
                return &stamped.value;
            }
        }
        self.renew(generation, current, make)
    }

    #[cold]
    fn renew(&self, generation: u32, old: *mut Stamped<T>, make: impl FnOnce() -> T) -> &T {
        let fresh = Box::into_raw(Box::new(Stamped {
            generation,
            value: make(),
        }));
        let winner =
            match self
                .current
                .compare_exchange(old, fresh, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => fresh,
                Err(theirs) => {
                    // SAFETY: nobody else has seen `fresh`.
                    drop(unsafe { Box::from_raw(fresh) });
                    theirs
                }
            };
        // SAFETY: as in `get_or_make`; the winner is of this generation, since a pointer is
        // replaced only once in each.
        &unsafe { &*winner }.value
    }
}

impl<T> Drop for ForkCell<T> {
    fn drop(&mut self) {
        let current = *self.current.get_mut();
        if current.is_null() {
            return;
        }
        // SAFETY: stored by `renew`, freed nowhere else.
        if unsafe { &*current }.generation == generation() {
            // SAFETY: the same; `&mut self` says that no reference is left.
            drop(unsafe { Box::from_raw(current) });
        }
    }
}

// SAFETY: a ForkCell hands out `&T` to any thread and drops T on the thread that drops the cell.
unsafe impl<T: Send + Sync> Sync for ForkCell<T> {}
// SAFETY: the same.
unsafe impl<T: Send + Sync> Send for ForkCell<T> {}
