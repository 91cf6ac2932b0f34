//! Sees whether two are inside at the same time.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use holdlock_test_support::shared;

/// A record of who is inside, in memory shared by all processes of a trial.
#[derive(Clone, Copy)]
pub struct Witness(&'static [AtomicU64; WORDS]);

const WORDS: usize = 40;

const INSIDE: usize = 0;
const ACQUISITIONS: usize = 8;
const OVERLAPS: usize = 16;
const SHARERS: usize = 24;
const NOTED: usize = 32;

impl Witness {
    /// Opens the record in this file, creating it when missing.
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

    /// An exclusive section. The work is kept short, so that overlaps are likely
    /// to be seen by a counter that is not atomic as well.
    pub fn exclusively(&self, section: impl FnOnce()) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let me = u64::from(std::process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed);
        let before = self.word(INSIDE).swap(me, Ordering::SeqCst);
        // Who was killed inside has left its mark.
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

    /// A shared section; not together with processes that are killed.
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

    /// Counts something that is not an overlap.
    pub fn note(&self) {
        self.word(NOTED).fetch_add(1, Ordering::SeqCst);
    }

    /// What [`note`](Witness::note) has counted.
    pub fn noted(&self) -> u64 {
        self.word(NOTED).load(Ordering::SeqCst)
    }

    /// Sections so far.
    pub fn acquisitions(&self) -> u64 {
        self.word(ACQUISITIONS).load(Ordering::SeqCst)
    }

    /// Overlaps so far.
    pub fn overlaps(&self) -> u64 {
        self.word(OVERLAPS).load(Ordering::SeqCst)
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        &self.0[index]
    }
}

/// Whether a process can still be inside. One that is being killed gives its
/// locks back a moment before it becomes a zombie.
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
