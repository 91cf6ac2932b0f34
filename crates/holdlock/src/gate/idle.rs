//! When a free lock keeps its file open.
//!
//! A `FileLock` that nobody in the process uses gives its descriptor up, so that thousands of them
//! cost nothing and none keeps a file system from being unmounted. Opening the file anew costs
//! about as much as the rest of a cycle, so a lock in constant use is spared that. The rule:
//!
//! > A released lock closes its file, except a lock that is released again and again with less than
//! > [`SOON`] in between: that one closes its file after about a second without use.
//!
//! The thread that leaves the gate decides, by the number of quick releases in a row. A helper
//! thread closes the files that are kept, and ends with the last of them.
//!
//! Why no file of a held or awaited lock is closed: the thread that leaves is alone inside. The
//! helper thread looks at the gate's word while it has the mutex of the gate's file. A thread
//! enters first and takes its file under that mutex afterwards. So if the helper thread got the
//! mutex first, the thread finds no file and opens it; otherwise the helper thread sees it inside.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::{Gate, KEPT, OCCUPIED};
use crate::acquire::open::LockFile;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, sleep};
use crate::sys::fork::ForkCell;
use crate::sys::{clock, published};

/// Two releases follow each other soon if less than this is between them.
const SOON: Duration = Duration::from_millis(100);
/// After how many releases in a row, each soon after the one before, the file is kept. Opening the
/// file so often costs as much as starting the helper thread.
const QUICK_RELEASES: u32 = 16;
/// How many locks of a process keep their files at the same time.
const MAX_KEPT: usize = 64;
/// How often the helper thread looks for files that were not used since its last look.
const PAUSE: Duration = Duration::from_millis(500);

/// How much a lock is used.
#[derive(Default)]
pub(super) struct Idle {
    /// When the lock was last released, in nanoseconds. Only the thread that is alone inside uses
    /// this, so the gate's `word` orders the accesses; likewise `quick_releases`.
    released_at: AtomicU64,
    /// How many releases in a row came soon after the one before.
    quick_releases: AtomicU32,
    /// The file is kept: the gate is in the helper thread's list. Changes only under the list's
    /// mutex; from true to false only while no thread is inside.
    kept: AtomicBool,
    /// The lock was used since the helper thread's last look.
    used: AtomicBool,
}

impl Gate {
    /// The thread that is alone inside is about to open the gate, and has given the kernel's lock
    /// back: closes the file, unless it is kept.
    #[inline]
    pub(super) fn rest(&self) {
        if self.idle.kept.load(Ordering::Relaxed) {
            self.idle.used.store(true, Ordering::Relaxed);
        } else {
            self.close_or_keep();
        }
    }

    #[cold]
    fn close_or_keep(&self) {
        if self.file_stays || self.file().is_none() {
            return;
        }
        let idle = &self.idle;
        let now = clock::nanoseconds();
        let pause = now.saturating_sub(idle.released_at.swap(now, Ordering::Relaxed));
        let quick_releases = if pause < SOON.as_nanos() as u64 {
            let before = idle.quick_releases.load(Ordering::Relaxed);
            before.saturating_add(1)
        } else {
            0
        };
        idle.quick_releases.store(quick_releases, Ordering::Relaxed);
        if quick_releases < QUICK_RELEASES || !keep(self) {
            self.set_file(None);
        }
    }

    /// The helper thread's look: takes the file out, to be closed, if the lock was not used since
    /// the last look. False: the lock was used, or is in use.
    fn take_unused(&self, unused: &mut Vec<Arc<LockFile>>) -> bool {
        if self.idle.used.swap(false, Ordering::Relaxed) {
            return false;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.word.load(Ordering::Acquire) & (OCCUPIED | KEPT) != 0 {
            return false;
        }
        self.idle.kept.store(false, Ordering::Relaxed);
        unused.extend(file.take());
        true
    }
}

/// The locks that keep their files, and whether the helper thread runs.
#[derive(Default)]
struct Kept {
    gates: Vec<Weak<Gate>>,
    running: bool,
}

static KEPT_FILES: ForkCell<Mutex<Kept>> = ForkCell::new();

fn kept_files() -> MutexGuard<'static, Kept> {
    let kept = KEPT_FILES.get_or_make(Mutex::default);
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the file of this gate until the helper thread finds it unused. False if there are too many
/// or no thread can be started.
fn keep(gate: &Gate) -> bool {
    let mut kept = kept_files();
    if kept.gates.len() >= MAX_KEPT {
        kept.gates.retain(|gate| gate.strong_count() > 0);
        if kept.gates.len() >= MAX_KEPT {
            return false;
        }
    }
    if !kept.running {
        kept.running = published::start_helper("holdlock-idle", run).is_ok();
    }
    if kept.running {
        kept.gates.push(gate.me.clone());
        gate.idle.used.store(true, Ordering::Relaxed);
        gate.idle.kept.store(true, Ordering::Relaxed);
    }
    kept.running
}

fn run() {
    loop {
        sleep(PAUSE);
        // Declared first, so that the files are closed without the mutex.
        let mut unused = Vec::new();
        let mut kept = kept_files();
        kept.gates.retain(|gate| {
            let gate = gate.upgrade();
            gate.is_some_and(|gate| !gate.take_unused(&mut unused))
        });
        if kept.gates.is_empty() {
            kept.running = false;
            return;
        }
    }
}
