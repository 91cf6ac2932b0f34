//! The journal: what the workers of all demos on one lock did, and when.
//!
//! A text file of one line per event. Lines are short and each is one write to
//! a descriptor in append mode, so those of different processes never mix. The
//! clock is the host's monotonic one, which all processes read alike.
//!
//! Demos hold a shared lock on the journal while they use it; a demo that acquires it exclusively
//! is alone and may clear or remove it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use holdlock::FileLock;
use rustix::process::{Pid, test_kill_process};
use rustix::time::{ClockId, clock_gettime};

use crate::exit::Failure;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Asks for the lock.
    Wait,
    /// Enters its critical section.
    Enter,
    /// Leaves it; still holds the lock.
    Leave,
    /// Has released the lock, or is about to.
    Release,
}

impl Step {
    const ALL: [Step; 4] = [Step::Wait, Step::Enter, Step::Leave, Step::Release];

    /// The word in the journal and in JSON.
    pub(super) fn word(self) -> &'static str {
        match self {
            Step::Wait => "wait",
            Step::Enter => "enter",
            Step::Leave => "leave",
            Step::Release => "release",
        }
    }
}

/// One line of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Nanoseconds of the monotonic clock.
    pub(super) at: u64,
    /// The demo's process id.
    pub(super) run: u32,
    /// The worker's number, from 1.
    pub(super) worker: u32,
    /// The worker's process id.
    pub(super) pid: u32,
    /// Whether this half works with the lock.
    pub(super) locked: bool,
    pub(super) step: Step,
}

impl Event {
    fn line(&self) -> String {
        let Event {
            at,
            run,
            worker,
            pid,
            locked,
            step,
        } = self;
        let half = if *locked { "on" } else { "off" };
        format!("{at} {run} {worker} {pid} {half} {}\n", step.word())
    }

    fn parse(line: &str) -> Option<Event> {
        let mut words = line.split(' ');
        Some(Event {
            at: words.next()?.parse().ok()?,
            run: words.next()?.parse().ok()?,
            worker: words.next()?.parse().ok()?,
            pid: words.next()?.parse().ok()?,
            locked: words.next()? == "on",
            step: words
                .next()
                .and_then(|word| Step::ALL.into_iter().find(|step| step.word() == word))?,
        })
    }
}

/// A journal to write to.
pub(super) struct Journal(File);

impl Journal {
    pub(super) fn open(path: &Path) -> io::Result<Journal> {
        OpenOptions::new().append(true).open(path).map(Journal)
    }

    pub(super) fn write(&mut self, event: &Event) -> io::Result<()> {
        self.0.write_all(event.line().as_bytes())
    }
}

/// All events so far. A line that cannot be read was cut off by a full disk.
pub(super) fn read(path: &Path) -> io::Result<Vec<Event>> {
    Ok(fs::read_to_string(path)?
        .lines()
        .filter_map(Event::parse)
        .collect())
}

/// Nanoseconds of the clock that all processes of the host share.
pub(super) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Whether the process exists, also if it belongs to another user.
pub(super) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

/// Removes the events that killed demos have left.
pub(super) fn clear_if_unused(journal: &FileLock) -> Result<(), Failure> {
    alone(journal, |path| {
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(path)
            .map(drop)
    })
}

/// Removes the journal if no other demo uses it.
pub(super) fn remove_if_unused(journal: &FileLock) -> Result<(), Failure> {
    alone(journal, |path| fs::remove_file(path))
}

fn alone(journal: &FileLock, act: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Failure> {
    match journal.try_lock() {
        Ok(_guard) => act(journal.path())
            .map_err(|error| Failure::system("cannot tidy up the journal of the demo", error)),
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        for step in Step::ALL {
            let event = Event {
                at: 12_345_678_901,
                run: 7,
                worker: 2,
                pid: 9,
                locked: true,
                step,
            };
            assert_eq!(Event::parse(event.line().trim_end()), Some(event));
        }
    }

    #[test]
    fn a_torn_line_is_no_event() {
        for line in [
            "",
            "1234",
            "1 2 3 4 on",
            "1 2 3 4 on ent",
            "x 2 3 4 on enter",
        ] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }

    #[test]
    fn this_process_is_alive() {
        assert!(is_alive(std::process::id()));
        assert!(!is_alive(u32::MAX));
    }
}
