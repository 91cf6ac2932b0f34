//! Ends everything that the command has started: by TERM, and after a while by KILL until no
//! process is left.
//!
//! One pass of KILL is not enough: a process may fork between our look and our signal, and its
//! child survives. That child becomes our child as soon as its parent is dead, and is the first in
//! the list of the next pass. Therefore passes follow each other without a pause while each finds a
//! process that the previous pass did not know. A pass takes microseconds for each process of the
//! job, whatever else runs on the host; a process that forks all the time ends within a few passes.
//! A file's lock is held meanwhile, so nothing depends on how long that takes. An engine's lock may
//! end: then the passes begin only a moment before, and no message may hold them up.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::job::Job;
use super::supervisor::Duties;
use crate::descendants::number;
use crate::exit;
use crate::show::time::rounded;
use crate::sys::wake::Wake;

/// The shortest pause between two passes of KILL that found the same processes: they only need time
/// to die.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The state of the ending.
pub(super) struct Ending {
    stage: Stage,
    kill_after: Duration,
    quiet: bool,
    /// Continues this process in time if it is stopped.
    pub(super) wake: Option<Wake>,
}

enum Stage {
    /// The job may run on.
    Free,
    /// TERM at this time.
    Limited { at: Instant, hold: Duration },
    /// KILL at this time; None: never.
    Asked(Option<Instant>),
    /// KILL is being repeated.
    Killing { before: Vec<Pid>, pause: Duration },
}

impl Ending {
    /// With a limit, TERM is sent once the lock has been held for so long.
    pub(super) fn new(duties: Duties, since: Instant, quiet: bool) -> Ending {
        // A limit beyond the range of the clock is no limit.
        let end_of = |hold| Some((since.checked_add(hold)?, hold));
        let limit = duties.max_hold.and_then(end_of);
        let left = |(at, _): (Instant, _)| at.saturating_duration_since(Instant::now());
        Ending {
            // Without a timer, a limit that ends during a stop takes effect when we continue.
            wake: limit.and_then(|limit| Wake::after(left(limit)).ok()),
            stage: limit.map_or(Stage::Free, |(at, hold)| Stage::Limited { at, hold }),
            kill_after: duties.kill_after,
            quiet,
        }
    }

    /// Whether the end of the job has begun.
    pub(super) fn has_begun(&self) -> bool {
        matches!(self.stage, Stage::Asked(_) | Stage::Killing { .. })
    }

    /// The time until the next step is due.
    pub(super) fn pause(&self) -> Option<Duration> {
        match self.stage {
            Stage::Free => None,
            Stage::Limited { at, .. } => Some(at),
            Stage::Asked(at) => at,
            Stage::Killing { pause, .. } => return Some(pause),
        }
        .map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Takes the step that is due. Returns true if the limit has just been reached.
    pub(super) fn act(&mut self, job: &Job) -> bool {
        match &mut self.stage {
            Stage::Limited { at, hold } if Instant::now() >= *at => {
                let hold = *hold;
                self.begin(job);
                self.say(&format!(
                    "--max-hold ({}) exceeded: ending the command and all that it has started",
                    rounded(hold)
                ));
                return true;
            }
            Stage::Asked(Some(at)) if Instant::now() >= *at => {
                self.begin_killing(job);
            }
            Stage::Killing { .. } => self.kill(job),
            _ => {}
        }
        false
    }

    /// Sends TERM to everything, and KILL later.
    pub(super) fn begin(&mut self, job: &Job) {
        self.stage = Stage::Asked(Instant::now().checked_add(self.kill_after));
        if self.wake.is_none() {
            self.wake = Wake::after(self.kill_after).ok();
        }
        let members = job.receivers();
        // A stopped process takes TERM only when it continues.
        for signal in [Signal::TERM, Signal::CONT] {
            for pid in &members {
                let _ = job.send(*pid, signal);
            }
        }
    }

    /// Ends everything because the lock is lost, at once by KILL if `kill_after` is zero. This is
    /// said in any case.
    pub(super) fn begin_for_lost_lock(&mut self, job: &Job, why: &str, kill_after: Duration) {
        if kill_after.is_zero() {
            self.begin_killing(job);
        } else if !matches!(self.stage, Stage::Killing { .. }) {
            self.kill_after = self.kill_after.min(kill_after);
            self.wake = None;
            self.begin(job);
        }
        // The signals come first: they are what is urgent.
        exit::warn_later(&format!(
            "{why}; ending the command and all that it has started"
        ));
    }

    fn begin_killing(&mut self, job: &Job) {
        self.stage = Stage::Killing {
            before: Vec::new(),
            pause: Duration::ZERO,
        };
        self.kill(job);
    }

    fn kill(&mut self, job: &Job) {
        let Stage::Killing { before, pause } = &mut self.stage else {
            return;
        };
        let members = job.receivers();
        let is_new = |pid: &&Pid| !before.contains(pid);
        let new: Vec<Pid> = members.iter().filter(is_new).copied().collect();
        *pause = if new.is_empty() {
            (*pause * 2).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
        } else {
            Duration::ZERO
        };
        before.clone_from(&members);
        let refuses = |pid: &Pid| job.send(*pid, Signal::KILL) == Err(Errno::PERM);
        let refused: Vec<Pid> = members.into_iter().filter(refuses).collect();
        for pid in refused.into_iter().filter(|pid| new.contains(pid)) {
            let process = holdlock::inspect::Process::of(number(pid));
            let name = process.map_or_else(|| format!("pid {pid}"), |found| found.to_string());
            self.say(&format!(
                "cannot end {name}: it belongs to another user; holding the lock until it has ended"
            ));
        }
    }

    fn say(&self, message: &str) {
        if !self.quiet {
            exit::warn_later(message);
        }
    }
}
