//! The processes that are left of a job that a signal has ended.
//!
//! Most of them have inherited the lock and keep it by themselves. A program that has closed the
//! descriptor, as Python's `subprocess` does for its children, does not: holdlock has to hold the
//! lock until that program has ended. A process that has left the session as well is a daemon,
//! which is meant to outlive the process that started it.

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use holdlock::inspect::{self, FileId, Kind, Process, State};
use libc::c_int;
use rustix::process::Pid;

use super::held::Held;
use super::job::Job;
use super::supervisor::End;
use crate::descendants::number;
use crate::exit;
use crate::sys::groups::session_of;

/// After this time, the processes that the same signal has ended are gone.
const TIME_TO_DIE: Duration = Duration::from_millis(100);
const SHORTEST_LOOK: Duration = Duration::from_millis(5);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// The locks of the job, each with the slot if it is one of a semaphore.
struct Locks(Vec<(FileId, PathBuf, Option<u32>)>);

impl Locks {
    fn of(held: &[Held<'_>]) -> Locks {
        let open = inspect::locks_of(std::process::id()).unwrap_or_default();
        let lock = |guard: &Held<'_>| {
            let number = guard.as_fd().as_raw_fd().unsigned_abs();
            let lock = open.iter().find(|lock| lock.descriptor == number)?;
            Some((lock.file_id, guard.path().to_owned(), guard.slot()))
        };
        Locks(held.iter().filter_map(lock).collect())
    }

    fn are_open_in(&self, pid: u32) -> bool {
        let open = inspect::locks_of(pid).unwrap_or_default();
        let has = |file_id: FileId, slot: Option<u32>| {
            let is_it = |lock: &inspect::OpenLock| match slot {
                None => lock.kind == Kind::Flock && lock.file_id == file_id,
                slot => lock.slot == slot && lock.file_id == file_id,
            };
            open.iter().any(is_it)
        };
        let mut locks = self.0.iter();
        !self.0.is_empty() && locks.all(|(file_id, _, slot)| has(*file_id, *slot))
    }

    /// The processes that wait for one of these locks, and do nothing else meanwhile. They are not
    /// at work.
    fn waiters(&self) -> Vec<u32> {
        let mut found = Vec::new();
        for (file_id, path, _) in &self.0 {
            let files = inspect::file(path).unwrap_or_default().files;
            let here = files.into_iter().filter(|file| file.file_id == *file_id);
            let waiters = here.flat_map(|file| file.waiters);
            found.extend(waiters.filter_map(|waiter| Some(waiter.process?.pid)));
        }
        found.retain(|pid| has_one_thread(*pid));
        found
    }
}

/// Waits for the processes that a job left behind when a signal ended it.
pub(super) struct Rest {
    locks: Locks,
    since: Instant,
    look_in: Duration,
    told: bool,
    /// The processes that had ended by the previous look.
    ended: Vec<u32>,
}

/// The processes that are left at one moment.
#[derive(Default)]
struct Survivors {
    /// Processes that have all locks open.
    keepers: Vec<Process>,
    /// Processes at work that do not have all locks open.
    others: Vec<Process>,
    /// Processes that had ended by this look.
    ended: Vec<u32>,
}

impl Survivors {
    /// Adds a process that lived a moment ago and does not have all locks open, unless it has left
    /// these sessions.
    fn add_without_lock(&mut self, process: Process, pid: Pid, sessions: [Option<i32>; 2]) {
        match session_of(Some(pid)) {
            // Where the kernel names no session, not even our own, it counts as in ours.
            session if sessions.contains(&session) => self.others.push(process),
            Some(_) => {}
            // It was reaped a moment ago, and may have left a child.
            None => self.ended.push(process.pid),
        }
    }
}

impl Rest {
    pub(super) fn new(held: &[Held<'_>]) -> Rest {
        Rest {
            locks: Locks::of(held),
            since: Instant::now(),
            look_in: SHORTEST_LOOK,
            told: false,
            ended: Vec::new(),
        }
    }

    /// The time until the next look.
    pub(super) fn pause(&self) -> Duration {
        self.look_in
    }

    /// Whether no process needs holdlock to keep the lock. Reports which processes need it, and
    /// which keep the lock themselves.
    pub(super) fn keeps_the_lock(
        &mut self,
        job: &Job,
        command: Pid,
        end: End,
        quiet: bool,
    ) -> bool {
        let Some(left) = self.look(job, command) else {
            self.look_in = LONGEST_LOOK;
            if !quiet && !std::mem::replace(&mut self.told, true) {
                exit::warn_later(
                    "cannot see in /proc which processes the command has started; keeping the \
                     lock until all of them have ended",
                );
            }
            return false;
        };
        // A process that has ended since the list was made may have left a child that is not in the
        // list, because it became our child later.
        let is_settled = left.ended.iter().all(|pid| self.ended.contains(pid));
        self.ended.clone_from(&left.ended);
        if !is_settled {
            self.look_in = Duration::ZERO;
            return false;
        }
        let is_over = left.others.is_empty();
        if is_over && left.keepers.is_empty() {
            return true;
        }
        self.look_in = (self.look_in * 2).clamp(SHORTEST_LOOK, LONGEST_LOOK);
        if self.since.elapsed() < TIME_TO_DIE {
            return false;
        }
        let what = if is_over {
            format!("continue and keep the lock: {}", names(&left.keepers))
        } else {
            format!(
                "continue without the lock; holdlock keeps it until these have ended: {}",
                names(&left.others)
            )
        };
        if !quiet && (is_over || !self.told) {
            let how = match end {
                End::Signal(number) => format!("the command was ended by {}", name_of(number)),
                _ => "the command ended after a signal".to_owned(),
            };
            exit::warn_later(&format!("{how}; processes that it started {what}"));
        }
        self.told = true;
        is_over
    }

    /// The processes for whose end holdlock waits.
    pub(super) fn at_work(&self, job: &Job, command: Pid) -> Vec<Pid> {
        let Some(left) = self.look(job, command) else {
            return job.receivers();
        };
        let others = left.others.into_iter();
        others
            .filter_map(|process| Pid::from_raw(process.pid.try_into().ok()?))
            .collect()
    }

    /// Looks at all descendants. `command` may have led a session of its own. None if they cannot
    /// be seen.
    fn look(&self, job: &Job, command: Pid) -> Option<Survivors> {
        let mut found = Survivors::default();
        let sessions = [session_of(None), Some(command.as_raw_pid())];
        for pid in job.members()? {
            let number = number(pid);
            let Some(process) = Process::of(number).filter(|process| !has_ended(process)) else {
                found.ended.push(number);
                continue;
            };
            if self.locks.are_open_in(number) {
                found.keepers.push(process);
            } else {
                found.add_without_lock(process, pid, sessions);
            }
        }
        if !found.others.is_empty() {
            let waiters = self.locks.waiters();
            found
                .others
                .retain(|process| !waiters.contains(&process.pid));
        }
        Some(found)
    }
}

/// Whether the process has ended. A process whose first thread has ended may continue with other
/// threads.
fn has_ended(process: &Process) -> bool {
    let threads = || fs::read_dir(format!("/proc/{}/task", process.pid)).map(Iterator::count);
    process.state == Some(State::Zombie) && threads().is_ok_and(|number| number == 1)
}

/// Whether a process has only one thread. Threads of this library that wait or look for it do not
/// count.
fn has_one_thread(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    let others = tasks.into_iter().flatten().flatten().filter(|task| {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        !name.starts_with("holdlock-")
    });
    others.count() == 1
}

/// `pid 7 (python3 work.py) of ann and 2 others`.
fn names(processes: &[Process]) -> String {
    let first = processes
        .first()
        .map(ToString::to_string)
        .unwrap_or_default();
    match processes.len() {
        0 | 1 => first,
        2 => format!("{first} and 1 other"),
        more => format!("{first} and {} others", more - 1),
    }
}

fn name_of(signal: u8) -> String {
    let name = match c_int::from(signal) {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGABRT => "SIGABRT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGTERM => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_that_ends_during_a_look_is_a_reason_to_look_again() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("cat starts");
        let pid = Pid::from_child(&child);
        let process = Process::of(number(pid)).expect("it runs");
        let sessions = [session_of(None); 2];
        let mut found = Survivors::default();
        found.add_without_lock(process.clone(), pid, sessions);
        assert_eq!((found.others.len(), found.ended.len()), (1, 0));
        drop(child.stdin.take());
        child.wait().expect("it ends");
        let mut found = Survivors::default();
        found.add_without_lock(process, pid, sessions);
        assert_eq!((found.others.len(), found.ended), (0, vec![number(pid)]));
    }
}
