//! The gate: orders the threads of this process before the kernel is asked.
//!
//! All threads that use one [`FileLock`](crate::FileLock) share one open file description. The
//! kernel does not tell these threads apart: it would give the lock to all of them. Therefore a
//! thread first passes this gate, and only a thread that has passed it asks the kernel. A thread is
//! *inside* from the moment when it passes the gate until it releases the lock.
//!
//! * Sleeping threads are served in the order of their arrival.
//! * A *running* thread may pass sleeping ones, as in every fast mutex, because waking a thread
//!   takes longer than most critical sections. This is allowed for at most `queue::PASSING_TIME`
//!   after a sleeping thread last got in. A holder that keeps the lock for longer hands it directly
//!   to the first sleeping thread.
//! * While exclusive requests of this process wait, the kernel's lock is *kept*: each thread hands
//!   it to the next one without unlocking the file. This happens at most
//!   `handover::MAX_KEPT_IN_ROW` times in a row or for `handover::KEEP_TIME`, whichever is longer.
//!   Other processes are excluded during this time. After it they get their chance.
//!
//! # The word
//!
//! | bit | meaning | changed by |
//! |---|---|---|
//! | ALONE | one thread is inside: an exclusive holder, or a thread that deals with the kernel | set by the thread that enters, cleared by the thread that leaves |
//! | SHARED | the shared holders in `Lists::sharers` are inside | under the mutex |
//! | KEPT | no thread is inside, but the kernel's exclusive lock is held | together with ALONE |
//! | QUEUED | `Lists::queue` is not empty | under the mutex |
//! | AWAKE | the first sleeper was told to try and is about to | under the mutex |
//! | FIRST_SHARES | the first sleeper asks for a shared lock | under the mutex |
//!
//! While ALONE or SHARED is set, only a thread that holds the mutex or is inside changes the word.
//! No sleeper is overlooked: a sleeper sets QUEUED in the same atomic operation that sees ALONE or
//! SHARED still set. A thread that leaves without the mutex uses a compare-and-swap from a word
//! without QUEUED, or with AWAKE.
//!
//! | file | what is in it |
//! |---|---|
//! | here | the word, and entering without waiting |
//! | `queue` | entering after waiting: threads that sleep, and tasks |
//! | `exit` | leaving, and converting from exclusive to shared and back |
//! | `handover` | for how long the kernel's lock is kept |
//! | `idle` | when a free lock keeps its file open |
//! | `held_slots` | the slots that threads of this process hold |
//! | `occupant` | the number that stands for a thread inside |
//! | `registry` | all gates of this process |

mod exit;
mod handover;
pub(crate) mod held_slots;
mod idle;
mod occupant;
mod queue;
pub(crate) mod registry;

use std::sync::{Arc, PoisonError, Weak};

use crate::acquire::open::LockFile;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::wait::callback::Key;
use crate::wait::{Stop, Wait};
use crate::{Family, Mode};

use handover::Handover;
use idle::Idle;
pub(crate) use occupant::Occupant;
use occupant::thread_number;
use queue::Lists;
pub(crate) use queue::Sleeper;

const ALONE: u32 = 1;
const SHARED: u32 = 1 << 1;
const KEPT: u32 = 1 << 2;
const QUEUED: u32 = 1 << 3;
const AWAKE: u32 = 1 << 4;
const FIRST_SHARES: u32 = 1 << 5;
const OCCUPIED: u32 = ALONE | SHARED;
const QUEUE_BITS: u32 = QUEUED | AWAKE | FIRST_SHARES;

/// How a thread enters the gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryTerms {
    pub(crate) mode: Mode,
    pub(crate) occupant: Occupant,
    /// Whether the thread may join shared holders, or has to be alone first.
    pub(crate) join: bool,
}

impl EntryTerms {
    fn joins(self) -> bool {
        self.join && self.mode == Mode::Shared
    }
}

/// How a thread passed the gate.
pub(crate) enum Passed {
    /// The thread is alone inside and has to take the kernel's lock.
    Alone(Alone),
    /// The thread is one more shared holder of a lock that is already held.
    Joined(Joined),
}

/// The answer to a thread that entered alone.
pub(crate) struct Alone {
    pub(crate) file: Option<Arc<LockFile>>,
    /// The kernel's exclusive lock on this file was kept for this thread.
    pub(crate) kept: bool,
}

/// The answer to a thread that joined shared holders.
pub(crate) struct Joined {
    pub(crate) file: Arc<LockFile>,
    /// The thread has to check that the file is still the one at the path.
    pub(crate) check: bool,
}

/// The threads inside a gate.
pub(crate) enum Inside {
    Empty,
    /// A holder, or a thread that deals with the kernel and may be waiting there.
    Alone(Option<Occupant>),
    /// Shared holders.
    Sharing(Vec<Occupant>),
}

impl Inside {
    pub(crate) fn occupants(&self) -> &[Occupant] {
        match self {
            Inside::Empty => &[],
            Inside::Alone(occupant) => occupant.as_slice(),
            Inside::Sharing(occupants) => occupants,
        }
    }
}

/// The gate of one `FileLock` in one process.
pub(crate) struct Gate {
    word: AtomicU32,
    /// The thread that is alone inside; 0 if there is no such thread, if it has not said so yet, or
    /// if its guard can move to another thread.
    alone: AtomicU64,
    /// Until when running threads may pass sleeping ones, in nanoseconds.
    passing_until: AtomicU64,
    /// The open lock file. Only a thread that is alone inside replaces it. `idle` closes it when no
    /// thread is inside.
    file: Mutex<Option<Arc<LockFile>>>,
    handover: Handover,
    idle: Idle,
    lists: Mutex<Lists>,
    /// No running thread passes sleeping ones, and the kernel's lock is never kept.
    fair: bool,
    /// The file stays open while the lock is free.
    file_stays: bool,
    /// The gate itself, for lists of gates.
    me: Weak<Gate>,
}

impl Gate {
    pub(crate) fn new(fair: bool, file_stays: bool) -> Arc<Gate> {
        Arc::new_cyclic(|me| Gate {
            fair,
            file_stays,
            me: me.clone(),
            word: AtomicU32::new(0),
            alone: AtomicU64::new(0),
            passing_until: AtomicU64::new(0),
            file: Mutex::default(),
            handover: Handover::default(),
            idle: Idle::default(),
            lists: Mutex::default(),
        })
    }

    /// The lock file, if one is open.
    pub(crate) fn file(&self) -> Option<Arc<LockFile>> {
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Identifies the lock of this gate for the callbacks of requests that wait.
    pub(crate) fn key(&self, family: Family) -> Key {
        let address = std::ptr::from_ref(self).addr();
        Key::new(address, family, self.file().map(|file| file.identity()))
    }

    /// Sets the file for the threads that enter later. Only a thread that is alone inside may call
    /// this.
    pub(crate) fn set_file(&self, file: Option<Arc<LockFile>>) {
        let mut current = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, file);
        drop(current);
        drop(old); // this may close it, so not under the mutex
    }

    /// Whether the calling thread is inside by a guard that cannot move to another thread, in a
    /// mode that excludes `mode`.
    pub(crate) fn held_by_this_thread(&self, mode: Mode) -> bool {
        let me = thread_number();
        let word = self.word.load(Ordering::Acquire);
        if word & ALONE != 0 {
            return self.alone.load(Ordering::Relaxed) == me;
        }
        word & SHARED != 0
            && mode == Mode::Exclusive
            && self
                .lists()
                .sharers
                .iter()
                .any(|occupant| occupant.thread == me)
    }

    /// The threads inside now. Guards that can move to another thread are left out.
    pub(crate) fn inside(&self) -> Inside {
        let bound = |occupant: &Occupant| *occupant != Occupant::ANY;
        let word = self.word.load(Ordering::Acquire);
        if word & ALONE != 0 {
            let thread = self.alone.load(Ordering::Relaxed);
            return Inside::Alone(Some(Occupant { thread }).filter(bound));
        }
        if word & SHARED == 0 {
            return Inside::Empty;
        }
        Inside::Sharing(self.lists().sharers.iter().copied().filter(bound).collect())
    }

    /// Waits for the other threads of this process, and enters.
    ///
    /// `unlock` gives the kernel's lock back. It is called in the rare case that the lock was kept
    /// for this thread and this thread's request has ended.
    #[inline]
    pub(crate) fn enter(
        &self,
        terms: EntryTerms,
        wait: &mut Wait<'_>,
        unlock: impl FnOnce(&LockFile),
    ) -> Result<Passed, Stop> {
        match self.enter_if_open(terms.occupant) {
            Some(alone) => Ok(Passed::Alone(alone)),
            None => self.enter_slowly(terms, wait, unlock),
        }
    }

    /// Enters alone if no thread is inside. When sleepers are queued, the gate is open only while
    /// running threads may pass them.
    #[inline]
    fn enter_if_open(&self, occupant: Occupant) -> Option<Alone> {
        let word = self.word.load(Ordering::Relaxed);
        (word & OCCUPIED == 0 && self.occupy(word, occupant))
            .then(|| self.entered_alone(word & KEPT != 0))
    }

    /// Sets ALONE in an open gate whose word is `word`.
    #[inline]
    fn occupy(&self, word: u32, occupant: Occupant) -> bool {
        let inside = (word | ALONE) & !KEPT;
        let done = self
            .word
            .compare_exchange(word, inside, Ordering::Acquire, Ordering::Relaxed);
        if done.is_ok() {
            self.alone.store(occupant.thread, Ordering::Relaxed);
        }
        done.is_ok()
    }

    /// Makes the answer for a thread that has just entered alone.
    #[inline]
    fn entered_alone(&self, kept: bool) -> Alone {
        self.handover.entered(kept);
        Alone {
            kept,
            file: self.file(),
        }
    }

    /// The thread that is alone inside has taken the kernel's lock.
    #[inline]
    pub(crate) fn kernel_lock_taken(&self) {
        self.handover
            .kernel_lock_taken(self.word.load(Ordering::Relaxed) & QUEUED != 0);
    }
}
