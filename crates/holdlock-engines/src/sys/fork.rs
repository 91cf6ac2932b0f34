//! Notices fork(2), and closes the connections in a child.
//!
//! A child of fork has a copy of each descriptor. The server sees the end of a connection only when
//! all copies are closed: a child that kept one would keep the lock of a parent that was killed.
//! A handler of pthread_atfork closes them before fork returns in the child. It says nothing on the
//! connection, which is the parent's. (Programs that are executed get no copy: close-on-exec.)
//!
//! The table of connections is never locked, because the thread that would have to unlock it does
//! not exist in a child.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, Ordering};

/// How often this process and its ancestors were made by fork.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Tells a process from its parent and from its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    forks: u32,
    /// For children of a bare clone(2), in which no handler has run.
    pid: u32,
}

/// This process.
pub(crate) fn generation() -> Generation {
    Generation {
        forks: GENERATION.load(Ordering::Acquire),
        pid: std::process::id(),
    }
}

impl Generation {
    pub(crate) fn is_current(self) -> bool {
        self == generation()
    }
}

/// A value of which each process has its own. A child of fork does not see the parent's value and
/// does not drop it: threads of the parent may have locked a part of it.
pub(crate) struct PerProcess<T: 'static>(AtomicPtr<(Generation, T)>);

impl<T: Send + Sync> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess(AtomicPtr::new(std::ptr::null_mut()))
    }

    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: null, or a value that `set` has leaked.
        let (generation, value) = unsafe { self.0.load(Ordering::Acquire).as_ref()? };
        generation.is_current().then_some(value)
    }

    /// Sets the value, and returns it. If another thread has set one meanwhile, returns that one,
    /// and drops this. A value of the parent stays in memory.
    pub(crate) fn set(&self, value: T) -> &'static T {
        let before = self.0.load(Ordering::Acquire);
        if let Some(there) = self.get() {
            return there;
        }
        let pair = Box::into_raw(Box::new((generation(), value)));
        let set = (self.0).compare_exchange(before, pair, Ordering::AcqRel, Ordering::Acquire);
        // SAFETY: `pair` comes from a box, and no other thread has seen it if it was not set. If it
        // was set, it is never freed, and only shared references are made of it; the same is true
        // of what another thread has set.
        unsafe {
            match set {
                Ok(_) => &(*pair).1,
                Err(theirs) => {
                    drop(Box::from_raw(pair));
                    &(*theirs).1
                }
            }
        }
    }
}

/// A value of the process that made it. A child of fork can neither reach nor drop it: threads of
/// the parent may have locked a part of it.
pub(crate) struct Inherited<T> {
    value: Option<T>,
    generation: Generation,
}

impl<T> Inherited<T> {
    pub(crate) fn new(value: T) -> Inherited<T> {
        Inherited {
            value: Some(value),
            generation: generation(),
        }
    }

    /// None in a child of fork.
    pub(crate) fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.generation.is_current())
    }

    /// None in a child of fork.
    pub(crate) fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut().filter(|_| self.generation.is_current())
    }
}

impl<T> Drop for Inherited<T> {
    fn drop(&mut self) {
        if !self.generation.is_current() {
            std::mem::forget(self.value.take());
        }
    }
}

const SLOTS: usize = 32;

/// A part of the table. A slot is 0, or the number of a descriptor plus one.
struct Block {
    slots: [AtomicI32; SLOTS],
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Block {
        Block {
            slots: [const { AtomicI32::new(0) }; SLOTS],
            next: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn next(&self) -> Option<&'static Block> {
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: null, or a block that `append` has leaked: it lives for ever.
        unsafe { next.as_ref() }
    }

    /// The block after this one; it is made if there is none.
    fn append(&self) -> &'static Block {
        let fresh = Box::into_raw(Box::new(Block::new()));
        let null = std::ptr::null_mut();
        let order = (Ordering::AcqRel, Ordering::Acquire);
        let next = match self.next.compare_exchange(null, fresh, order.0, order.1) {
            Ok(_) => fresh,
            Err(theirs) => {
                // SAFETY: made above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(fresh) });
                theirs
            }
        };
        // SAFETY: not null, and never freed.
        unsafe { &*next }
    }
}

static FIRST: Block = Block::new();

/// While it lives, a descriptor is closed in children of fork. It has to be dropped before the
/// descriptor is closed.
#[derive(Debug)]
pub(crate) struct ClosedInChild(&'static AtomicI32);

impl ClosedInChild {
    pub(crate) fn new(descriptor: BorrowedFd<'_>) -> ClosedInChild {
        register();
        let entry = descriptor.as_raw_fd() + 1;
        let mut block = &FIRST;
        loop {
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            let free = block
                .slots
                .iter()
                .find(|slot| slot.compare_exchange(0, entry, order.0, order.1).is_ok());
            if let Some(slot) = free {
                return ClosedInChild(slot);
            }
            block = block.next().unwrap_or_else(|| block.append());
        }
    }
}

impl Drop for ClosedInChild {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Registers the handler. Threads that call this at the same time may register it twice, which does
/// no harm.
extern "C" fn register() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handler exists as long as the process or the shared library. It makes only
        // calls that are allowed between fork and exec.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        REGISTERED.store(failed == 0, Ordering::Release);
    }
}

/// Registers the handler when the program, or the shared library that contains this code, is
/// loaded: no fork is in progress at that moment.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = register;

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    let mut block = Some(&FIRST);
    while let Some(this) = block {
        for slot in &this.slots {
            let entry = slot.swap(0, Ordering::AcqRel);
            if entry > 0 {
                // SAFETY: the number was a connection's at the moment of the fork, because its
                // entry is removed before it is closed. Its owner, a task of the parent's helper
                // thread, does not exist here, and what refers to the task is never dropped.
                unsafe { libc::close(entry - 1) };
            }
        }
        block = this.next();
    }
}

#[cfg(test)]
mod tests {
    use super::PerProcess;

    #[test]
    fn threads_that_set_a_value_at_the_same_time_get_the_same_one() {
        for _ in 0..200 {
            let cell: &PerProcess<usize> = Box::leak(Box::new(PerProcess::new()));
            let barrier = std::sync::Barrier::new(8);
            let set = |number| {
                barrier.wait();
                std::ptr::from_ref(cell.set(number)) as usize
            };
            let found = std::thread::scope(|scope| {
                let set = &set;
                let threads: Vec<_> = (0..8).map(|it| scope.spawn(move || set(it))).collect();
                threads
                    .into_iter()
                    .map(|it| it.join().expect("no panic"))
                    .collect::<Vec<_>>()
            });
            assert!(found.iter().all(|it| *it == found[0]), "{found:?}");
        }
    }
}
