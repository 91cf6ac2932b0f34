//! Shows whether two holders were inside at the same time.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use holdlock_test_support::shared;

/// A record of the process that is inside, in memory that all processes of a trial share.
#[derive(Clone, Copy)]
pub struct Witness(&'static [AtomicU64; WORDS]);

const WORDS: usize = 40;

const INSIDE: usize = 0;
const ACQUISITIONS: usize = 8;
const OVERLAPS: usize = 16;
const SHARERS: usize = 24;
const NOTED: usize = 32;

impl Witness {
    /// Opens the record in this file, and creates the file if it is missing.
    pub fn open(path: &Path) -> Witness {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .expect("the witness's file");
        Witness(shared::map(&file).expect("the witness's memory"))
    }

    /// An exclusive section. It is short, so that a counter that is not atomic is also likely to
    /// show an overlap.
    pub fn exclusively(&self, section: impl FnOnce()) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let me = u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed);
        let before = self.word(INSIDE).swap(me, Ordering::SeqCst);
        // A process that was killed inside has left its mark.
        if before != 0 && is_alive((before >> 32) as u32) {
            self.overlap();
        }
        if self.word(SHARERS).load(Ordering::SeqCst) != 0 {
            self.overlap();
        }
        section();
        if self
            .word(INSIDE)
            .compare_exchange(me, 0, Ordering::SeqCst, Ordering::SeqCst)
            .is_err()
        {
            self.overlap();
        }
        self.word(ACQUISITIONS).fetch_add(1, Ordering::SeqCst);
    }

    /// A shared section. Do not use it together with processes that are killed.
    pub fn shared(&self, section: impl FnOnce()) {
        self.word(SHARERS).fetch_add(1, Ordering::SeqCst);
        if self.word(INSIDE).load(Ordering::SeqCst) != 0 {
            self.overlap();
        }
        section();
        self.word(SHARERS).fetch_sub(1, Ordering::SeqCst);
        self.word(ACQUISITIONS).fetch_add(1, Ordering::SeqCst);
    }

    fn overlap(&self) {
        self.word(OVERLAPS).fetch_add(1, Ordering::SeqCst);
    }

    /// Counts an event that is not an overlap.
    pub fn note(&self) {
        self.word(NOTED).fetch_add(1, Ordering::SeqCst);
    }

    /// The count of [`note`](Witness::note).
    pub fn noted(&self) -> u64 {
        self.word(NOTED).load(Ordering::SeqCst)
    }

    /// The number of sections so far.
    pub fn acquisitions(&self) -> u64 {
        self.word(ACQUISITIONS).load(Ordering::SeqCst)
    }

    /// The number of overlaps so far.
    pub fn overlaps(&self) -> u64 {
        self.word(OVERLAPS).load(Ordering::SeqCst)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.0[index]
    }
}

/// Whether a process can still be inside. A process that is being killed releases its locks a
/// moment before it becomes a zombie.
fn is_alive(pid: u32) -> bool {
    const PF_EXITING: u64 = 4;
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // After the name: state, ppid, pgrp, session, tty, tpgid, flags, ...
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let flags = after_name.split(' ').nth(6).and_then(|f| f.parse().ok());
    flags.is_some_and(|flags: u64| flags & PF_EXITING == 0)
}
