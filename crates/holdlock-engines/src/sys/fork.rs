//! Notices fork(2), by handlers of pthread_atfork, and keeps what is a process's own from its
//! children. The sockets have a file of their own: `closed_in_child`.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::closed_in_child;

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

/// How many forks of this process have begun, and how many of them are over. A bare clone(2) and
/// vfork(2) run no handlers and are not counted.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static OVER: AtomicU64 = AtomicU64::new(0);

pub(super) fn begun() -> u64 {
    BEGUN.load(Ordering::SeqCst)
}

/// How many forks have begun. None while one is under way.
pub(super) fn begun_if_over() -> Option<u64> {
    // In this order: the first number never passes the second one.
    let over = OVER.load(Ordering::SeqCst);
    Some(begun()).filter(|begun| *begun == over)
}

/// Registers the handlers. Threads that call this at the same time may register them twice, which
/// does no harm.
pub(super) extern "C" fn register() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.load(Ordering::Acquire) {
        // SAFETY: the handlers exist as long as the process or the shared library. They make only
        // calls that are allowed between fork and exec.
        let failed = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
        REGISTERED.store(failed == 0, Ordering::Release);
    }
}

/// Registers the handlers when the program, or the shared library that contains this code, is
/// loaded: no fork is in progress at that moment.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = register;

pub(super) extern "C" fn before() {
    BEGUN.fetch_add(1, Ordering::SeqCst);
}

pub(super) extern "C" fn in_parent() {
    // The handlers of a fork may have been registered while it was under way.
    let next = |over| (over < begun()).then_some(over + 1);
    let _ = OVER.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
}

extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::AcqRel);
    // The other threads that were forking do not exist here.
    OVER.store(begun(), Ordering::SeqCst);
    closed_in_child::close_all();
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
