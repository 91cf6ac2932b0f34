//! flock(1) as a participant: it holds the lock for a command, which goes through a section.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::board::Board;
use super::kernel::{self, Thread};
use super::mode::Mode;
use super::plan::Phase;
use super::worker::{INSIDE, WORKER};

/// The pause between two of them: each starts two processes.
const PAUSE: Duration = Duration::from_millis(30);

pub(super) struct FlockProgram {
    board: &'static Board,
    number: u32,
    participant: usize,
    directory: PathBuf,
    random: Rng,
    running: Option<Child>,
    next: Instant,
    /// How often it was run. None: it is not installed.
    pub(super) runs: Option<u64>,
}

impl FlockProgram {
    pub(super) fn new(
        (board, file): (&'static Board, &File),
        participant: usize,
        directory: &Path,
        seed: u64,
    ) -> FlockProgram {
        FlockProgram {
            board,
            number: Board::number_of(file),
            participant,
            directory: directory.to_owned(),
            random: Rng::with_seed(seed),
            running: None,
            next: Instant::now(),
            runs: Some(0),
        }
    }

    /// Whether it may have a lock: it has started its command, or is about to.
    pub(super) fn may_have_lock(&self) -> bool {
        let Some(pid) = self.running.as_ref().map(Child::id) else {
            return false;
        };
        let is_asleep = kernel::thread(pid, pid).is_some_and(Thread::is_asleep);
        !is_asleep || kernel::has_children(pid)
    }

    /// Sees whether it has ended; starts it anew if `phase` has a mode for it. None: the run ends.
    /// Returns whether it does not run.
    pub(super) fn look(&mut self, phase: Option<Phase>) -> Result<bool, String> {
        if let Some(child) = &mut self.running {
            let status = match child.try_wait() {
                Ok(Some(status)) => status,
                Ok(None) => return Ok(false),
                Err(error) => return Err(format!("flock(1): {error}")),
            };
            self.running = None;
            let words = &self.board.participants[self.participant];
            words.doing.store(0, Ordering::SeqCst);
            if !status.success() {
                return Err(format!("flock(1) failed ({status})"));
            }
        }
        if let Some(phase) = phase
            && Instant::now() >= self.next
            && let Some(runs) = &mut self.runs
            && let Some(mode) = phase
                .modes
                .into_iter()
                .find(|mode| mode.has_flock_program())
        {
            *runs += 1;
            self.next = Instant::now() + PAUSE;
            self.start(mode);
        }
        Ok(self.running.is_none())
    }

    fn start(&mut self, mode: Mode) {
        let shared = mode.shares() && self.random.bool();
        let mut flock = Command::new("flock");
        flock
            .arg(if shared { "-s" } else { "-x" })
            .arg(mode.lock_file(&self.directory))
            .arg(format!("/proc/{}/exe", std::process::id()))
            .args([WORKER, INSIDE])
            .arg(self.number.to_string())
            .arg(self.participant.to_string())
            .arg(mode.name())
            .arg(if shared { "shared" } else { "exclusive" })
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        match flock.spawn() {
            Ok(child) => {
                let words = &self.board.participants[self.participant];
                words.pid.store(child.id().into(), Ordering::SeqCst);
                words.thread.store(child.id().into(), Ordering::SeqCst);
                self.running = Some(child);
            }
            Err(_) => self.runs = None,
        }
    }
}

impl Drop for FlockProgram {
    fn drop(&mut self) {
        if let Some(child) = &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
