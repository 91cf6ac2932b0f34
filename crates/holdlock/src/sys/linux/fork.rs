//! Notices fork(2), and keeps locks out of children.
//!
//! A child of fork has copies of all descriptors and of all memory, but only the thread that
//! forked. Three mechanisms deal with that:
//!
//! * A **generation** number differs between parent and child. It is in a page that the kernel
//!   wipes in a child (MADV_WIPEONFORK): reading it takes no system call.
//! * A [`ForkCell`] holds one value for each generation. A child therefore never uses a mutex that
//!   was locked by a thread of the parent.
//! * A handler of pthread_atfork closes the descriptors of lock files in the child before fork
//!   returns there: see `close_in_child`. It also closes the parent's note (`published`). Another
//!   handler runs before the fork and helps to find them.
//!
//! The handlers are registered when the program or the shared library is loaded: no fork can be in
//! progress at that moment. No code in this file waits for another thread, neither in the handlers
//! nor elsewhere. Therefore a child can continue at whatever moment it was forked.
//!
//! A child made by a bare clone(2) or by `_Fork` does not run atfork handlers. It owns no lock,
//! because the page is wiped, but it keeps the descriptors until exec or exit.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

use super::{close_in_child, published};

/// The last generation that this process or one of its ancestors used.
static LAST: AtomicU32 = AtomicU32::new(0);
/// The page that fork wipes, or null before the first use. It is never unmapped.
static PAGE: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());

static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// A number that differs between a process and its children of fork.
#[inline]
pub(crate) fn generation() -> u32 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: a non-null PAGE points to a mapping that is never unmapped. Any bytes there,
        // wiped ones included, are a valid AtomicU32.
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

/// The page. The first call maps it.
fn page() -> &'static AtomicU32 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: as in `generation`.
        return unsafe { &*page };
    }
    // The handler comes before the page: if a child finds a page, the handler has run in that
    // child.
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
        // The page cannot be mapped. A plain word is enough, because the handler sets that one as
        // well.
        static PLAIN: AtomicU32 = AtomicU32::new(0);
        let plain = std::ptr::from_ref(&PLAIN).cast_mut();
        let _ = PAGE.compare_exchange(
            std::ptr::null_mut(),
            plain,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    } else {
        // SAFETY: the mapping made above. Kernels before 4.14 refuse the advice; then only the
        // handler sets the generation in a child.
        unsafe { libc::madvise(fresh, SIZE, libc::MADV_WIPEONFORK) };
        let ours = PAGE.compare_exchange(
            std::ptr::null_mut(),
            fresh.cast(),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        if ours.is_err() {
            // SAFETY: no other thread has seen this mapping.
            unsafe { libc::munmap(fresh, SIZE) };
        }
    }
    // SAFETY: PAGE is no longer null, see `generation`.
    unsafe { &*PAGE.load(Ordering::Acquire) }
}

/// Calls [`register`] when the program, or the shared library that contains this code, is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = register;

/// Registers the handlers. Threads that call this at the same time may register them twice, which
/// does no harm. If one waited for the other instead, it could wait for ever in a child.
extern "C" fn register() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handlers exist as long as the process or the shared library. The child's
        // makes only calls that are allowed between fork and exec.
        let failed = unsafe { libc::pthread_atfork(Some(before), None, Some(in_child)) };
        REGISTERED.store(failed == 0, Ordering::Release);
    }
}

extern "C" fn before() {
    close_in_child::note_changes();
}

/// Whether fork made this process or one of its ancestors, and no program was executed since.
pub(crate) fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

extern "C" fn in_child() {
    IS_CHILD.store(true, Ordering::Relaxed);
    let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    page().store(fresh, Ordering::Release);
    close_in_child::close_lock_files();
    published::close_parents_note();
}

/// A value of which each process has its own: a child of fork makes a new one.
///
/// The child neither uses nor drops the parent's value.
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
            // SAFETY: only Drop frees a stored value, and Drop cannot run during `&self`: `renew`
            // leaks the value that it replaces.
            let stamped = unsafe { &*current };
            if stamped.generation == generation {
                return &stamped.value;
            }
        }
        self.renew(generation, current, make)
    }

    /// The value of the process that made one last: in a child, that of an ancestor.
    /// Async-signal-safe.
    pub(super) fn last_made(&self) -> Option<&T> {
        // SAFETY: as in `get_or_make`.
        let stamped = unsafe { self.current.load(Ordering::Acquire).as_ref() };
        stamped.map(|stamped| &stamped.value)
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
                    // SAFETY: no other thread has seen `fresh`.
                    drop(unsafe { Box::from_raw(fresh) });
                    theirs
                }
            };
        // SAFETY: as in `get_or_make`. The winner belongs to this generation, since the pointer is
        // replaced only once in each generation.
        &unsafe { &*winner }.value
    }
}

impl<T> Drop for ForkCell<T> {
    fn drop(&mut self) {
        let current = *self.current.get_mut();
        if current.is_null() {
            return;
        }
        // SAFETY: `renew` stored it, and only this function frees it.
        if unsafe { &*current }.generation == generation() {
            // SAFETY: the same. `&mut self` proves that no reference is left.
            drop(unsafe { Box::from_raw(current) });
        }
    }
}

// SAFETY: a ForkCell hands out `&T` to any thread and drops T on the thread that drops the cell.
unsafe impl<T: Send + Sync> Sync for ForkCell<T> {}
// SAFETY: the same.
unsafe impl<T: Send + Sync> Send for ForkCell<T> {}
