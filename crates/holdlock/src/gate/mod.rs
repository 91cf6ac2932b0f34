//! Threads of this process: the queue in front of the kernel's.
//!
//! All threads that use one [`FileLock`](crate::FileLock) share one open file
//! description, and the kernel does not tell them apart: it would let them all
//! in. So a thread first passes this gate, and only the thread that has passed
//! deals with the kernel.
//!
//! * Sleepers are served first come, first served.
//! * A *running* thread may pass them, as in every fast mutex, because waking a
//!   sleeper takes longer than most critical sections; but for at most
//!   `queue::PASSING_TIME` since a sleeper last got in. Who holds the lock for longer than
//!   that hands it to the first sleeper directly.
//! * While exclusive requests of this process wait, the kernel's lock is *kept*
//!   from one to the next: `handover::MAX_KEPT_IN_ROW` times in a row, or for `handover::KEEP_TIME`,
//!   whichever is longer. Other processes are excluded all that time, as they
//!   must be; then they get their chance.
//!
//! # The word
//!
//! | bit | meaning | changed by |
//! |---|---|---|
//! | ALONE | one thread is inside: an exclusive holder, or one that deals with the kernel | set by who enters; cleared by who leaves |
//! | SHARED | the shared holders of `Lists::sharers` are inside | under the mutex |
//! | KEPT | nobody is inside, but the kernel's exclusive lock is held | with ALONE |
//! | QUEUED | `Lists::queue` is not empty | under the mutex |
//! | AWAKE | the first sleeper was told to try and is on its way | under the mutex |
//! | FIRST_SHARES | the first sleeper asks for a shared lock | under the mutex |
//!
//! While ALONE or SHARED is set the word changes only under the mutex or by who
//! is inside. Nobody can fall asleep unseen: a sleeper sets QUEUED in the very
//! operation that sees ALONE or SHARED still set, and who leaves without the
//! mutex does so by a compare-and-swap from a word without QUEUED, or with AWAKE.
//!
//! | file | what is in it |
//! |---|---|
//! | here | the word, and going in without waiting |
//! | `queue` | going in after waiting |
//! | `exit` | leaving, and turning an exclusive stay into a shared one and back |
//! | `handover` | how long the kernel's lock is kept |
//! | `occupant` | the number by which a thread or an owned guard is inside |
//! | `registry` | all gates of this process |

mod exit;
mod handover;
mod occupant;
mod queue;
pub(crate) mod registry;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::Mode;
use crate::acquire::open::LockFile;
use crate::wait::{Stop, Wait};

use handover::Handover;
pub(crate) use occupant::Occupant;
use occupant::thread_number;
use queue::Lists;

const ALONE: u32 = 1;
const SHARED: u32 = 1 << 1;
const KEPT: u32 = 1 << 2;
const QUEUED: u32 = 1 << 3;
const AWAKE: u32 = 1 << 4;
const FIRST_SHARES: u32 = 1 << 5;
const OCCUPIED: u32 = ALONE | SHARED;
const QUEUE_BITS: u32 = QUEUED | AWAKE | FIRST_SHARES;

/// How a thread wants to go in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryTerms {
    pub(crate) mode: Mode,
    pub(crate) occupant: Occupant,
    /// Whether it may join other shared holders, or must be alone first.
    pub(crate) join: bool,
}

impl EntryTerms {
    fn joins(self) -> bool {
        self.join && self.mode == Mode::Shared
    }
}

/// How a thread passed the gate.
pub(crate) enum Passed {
    /// It is alone inside and must see to the kernel's lock.
    Alone(Alone),
    /// It is a further shared holder of a lock that is held already.
    Joined(Joined),
}

/// What a thread finds that passed the gate alone.
pub(crate) struct Alone {
    pub(crate) file: Option<Arc<LockFile>>,
    /// The kernel's exclusive lock on this file was kept.
    pub(crate) kept: bool,
}

/// What a thread finds that joined others.
pub(crate) struct Joined {
    pub(crate) file: Arc<LockFile>,
    /// It has to be checked that the file is still the one at the path.
    pub(crate) check: bool,
}

/// Who is inside a gate.
pub(crate) enum Inside {
    Nobody,
    /// A holder, or a thread that deals with the kernel and may be waiting there.
    Alone(Option<Occupant>),
    /// Shared holders.
    Sharing(Vec<Occupant>),
}

impl Inside {
    pub(crate) fn occupants(&self) -> &[Occupant] {
        match self {
            Inside::Nobody => &[],
            Inside::Alone(occupant) => occupant.as_slice(),
            Inside::Sharing(occupants) => occupants,
        }
    }
}

/// The gate of one `FileLock` in one process.
pub(crate) struct Gate {
    word: AtomicU32,
    /// The thread that is alone inside, 0 when there is none or it is not known.
    alone: AtomicU64,
    /// Until when running threads may pass sleeping ones, in nanoseconds.
    passing_until: AtomicU64,
    /// The open lock file. Only who is alone inside replaces it.
    file: Mutex<Option<Arc<LockFile>>>,
    handover: Handover,
    lists: Mutex<Lists>,
    /// Nobody passes those who sleep, and the kernel's lock is kept for nobody.
    fair: bool,
}

impl Gate {
    pub(crate) fn new(fair: bool) -> Gate {
        Gate {
            fair,
            word: AtomicU32::new(0),
            alone: AtomicU64::new(0),
            passing_until: AtomicU64::new(0),
            file: Mutex::default(),
            handover: Handover::default(),
            lists: Mutex::default(),
        }
    }

    /// The lock file, if one is open.
    pub(crate) fn file(&self) -> Option<Arc<LockFile>> {
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Sets the file that later passers find. Only for who is alone inside.
    pub(crate) fn set_file(&self, file: Option<Arc<LockFile>>) {
        let mut current = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *current, file);
        drop(current);
        drop(old); // may close it: not under the mutex
    }

    /// Whether the calling thread is inside with a guard that cannot leave it,
    /// in a mode that excludes `mode`.
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

    /// Who is inside now. Guards that can leave their thread are left out.
    pub(crate) fn inside(&self) -> Inside {
        let bound = |occupant: &Occupant| *occupant != Occupant::ANY;
        let word = self.word.load(Ordering::Acquire);
        if word & ALONE != 0 {
            let thread = self.alone.load(Ordering::Relaxed);
            return Inside::Alone(Some(Occupant { thread }).filter(bound));
        }
        if word & SHARED == 0 {
            return Inside::Nobody;
        }
        Inside::Sharing(self.lists().sharers.iter().copied().filter(bound).collect())
    }

    /// Waits for this process's other threads, and goes in.
    ///
    /// `unlock` gives the kernel's lock back; it is called in the rare case that
    /// the lock was kept for us and we do not want it any more.
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

    /// Goes in alone, if nobody is inside. Where sleepers are queued the gate is
    /// open only as long as they may be passed.
    #[inline]
    fn enter_if_open(&self, occupant: Occupant) -> Option<Alone> {
        let word = self.word.load(Ordering::Relaxed);
        (word & OCCUPIED == 0 && self.occupy(word, occupant))
            .then(|| self.start_alone(word & KEPT != 0))
    }

    /// Sets ALONE in an open gate, whose word is `word`.
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

    /// What who has just become alone inside finds.
    #[inline]
    fn start_alone(&self, kept: bool) -> Alone {
        self.handover.entered(kept);
        Alone {
            kept,
            file: self.file(),
        }
    }

    /// The thread that is alone inside has taken the kernel's lock.
    #[inline]
    pub(crate) fn taken(&self) {
        self.handover
            .taken(self.word.load(Ordering::Relaxed) & QUEUED != 0);
    }
}
