//! Noticing fork(2), and keeping locks out of children.
//!
//! A child of fork has copies of our descriptors: an unlock through one would
//! unlock the parent, and merely keeping one open would keep the lock alive
//! after the parent's death. So
//!
//! * a **generation** number, different in parent and child, is read from a page
//!   which the kernel wipes in a child (MADV_WIPEONFORK): no system call;
//! * a [`ForkCell`] holds one value for each generation, so that a child never
//!   meets a mutex that was locked by a thread it does not have;
//! * a [`LockFd`] is entered in a table, and a pthread_atfork handler closes in
//!   the child all descriptors that are in it.
//!
//! A child made by a bare clone(2) or by `_Fork` runs no atfork handlers: it owns
//! nothing either (the page is wiped), but keeps the descriptors until exec or exit.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

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

/// The page, mapped and registered with fork at the first call.
fn page() -> &'static AtomicU32 {
    let page = PAGE.load(Ordering::Acquire);
    if !page.is_null() {
        // SAFETY: as in `generation`.
        return unsafe { &*page };
    }
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
        // No page to be had: a plain word does, since the atfork handler sets it too.
        static PLAIN: AtomicU32 = AtomicU32::new(0);
        let plain = std::ptr::from_ref(&PLAIN).cast_mut();
        let _ = PAGE.compare_exchange(
            std::ptr::null_mut(),
            plain,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
    } else {
        // SAFETY: the mapping made above. Kernels before 4.14 refuse the advice; then the atfork
        // handler alone tells.
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
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, Ordering::AcqRel) {
        // SAFETY: the handlers stay for the life of the process and do only what is allowed
        // between fork and exec: atomics and close(2).
        unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    }
    // SAFETY: PAGE is not null any more, see `generation`.
    unsafe { &*PAGE.load(Ordering::Acquire) }
}

/// Even: no fork under way. Grows by two with each fork.
static FORKS: AtomicU64 = AtomicU64::new(0);

extern "C" fn before() {
    FORKS.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_parent() {
    FORKS.fetch_add(1, Ordering::SeqCst);
}

extern "C" fn in_child() {
    FORKS.store(0, Ordering::SeqCst);
    let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
    // The child has one thread: nobody else can be between the page and the table.
    page().store(fresh, Ordering::Release);
    let mut block = Some(&TABLE);
    while let Some(current) = block {
        for slot in &current.slots {
            let entry = slot.swap(0, Ordering::Relaxed);
            if entry != 0 {
                // SAFETY: the entry says that this number was one of our lock descriptors at the
                // moment of the fork, and since then only atfork handlers ran. Its owner in this
                // process, a `LockFd` of an older generation, will not close it.
                unsafe { libc::close((entry - 1) as libc::c_int) };
            }
        }
        current.used.store(0, Ordering::Relaxed);
        block = current.next.get().map(|next| &**next);
    }
}

const BLOCK: usize = 126;

/// Our open lock descriptors, each as number + 1; 0 is a free slot.
struct Block {
    slots: [AtomicU64; BLOCK],
    used: AtomicUsize,
    next: OnceLock<Box<Block>>,
}

impl Block {
    const fn new() -> Block {
        Block {
            slots: [const { AtomicU64::new(0) }; BLOCK],
            used: AtomicUsize::new(0),
            next: OnceLock::new(),
        }
    }
}

static TABLE: Block = Block::new();

/// A descriptor that belongs to the process which opened it, and to no child.
pub(crate) struct LockFd {
    fd: Option<OwnedFd>,
    generation: u32,
    block: &'static Block,
    slot: usize,
}

impl LockFd {
    /// Opens by `open` and enters the descriptor in the table.
    ///
    /// A fork in between would give the child a descriptor which the table does
    /// not have; then the file is closed and opened again, before it is locked.
    pub(crate) fn open(mut open: impl FnMut() -> io::Result<std::fs::File>) -> io::Result<LockFd> {
        let mut patience = 1000;
        loop {
            let generation = generation();
            let forks = FORKS.load(Ordering::SeqCst);
            let fd = LockFd::enter(OwnedFd::from(open()?), generation);
            let quiet = forks.is_multiple_of(2) && FORKS.load(Ordering::SeqCst) == forks;
            if quiet || patience == 0 {
                return Ok(fd);
            }
            patience -= 1;
            drop(fd);
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn enter(fd: OwnedFd, generation: u32) -> LockFd {
        let entry = fd.as_raw_fd() as u64 + 1;
        let mut block = &TABLE;
        loop {
            if block.used.load(Ordering::Relaxed) < BLOCK {
                for (slot, place) in block.slots.iter().enumerate() {
                    let took =
                        place.compare_exchange(0, entry, Ordering::SeqCst, Ordering::Relaxed);
                    if took.is_ok() {
                        block.used.fetch_add(1, Ordering::Relaxed);
                        return LockFd {
                            fd: Some(fd),
                            generation,
                            block,
                            slot,
                        };
                    }
                }
            }
            block = block.next.get_or_init(|| Box::new(Block::new()));
        }
    }
}

impl AsFd for LockFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().expect("taken out by drop alone").as_fd()
    }
}

impl Drop for LockFd {
    fn drop(&mut self) {
        if self.generation == generation() {
            // Out of the table first: once closed, the number may be somebody else's.
            self.block.slots[self.slot].store(0, Ordering::SeqCst);
            self.block.used.fetch_sub(1, Ordering::Relaxed);
        } else if let Some(fd) = self.fd.take() {
            // Inherited: the atfork handler has closed it already.
            let _ = fd.into_raw_fd();
        }
    }
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
