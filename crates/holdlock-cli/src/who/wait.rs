//! Waits until locks are free, without acquiring them.
//!
//! The kernel does not report a release to a process outside of the queue: neither inotify nor
//! poll(2) does, and a process in the queue delays others. Therefore `wait` looks again, less and
//! less often, because each look costs the kernel work (see the library's `inspect`). The end of a
//! holder, which releases most locks, wakes `wait` at once.

use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use holdlock::Mode;
use holdlock::inspect;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::view::View;
use crate::exit::{DEADLOCK, Failure};
use crate::show::text;

/// The time until the second look; it doubles after each look.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// If holders end one after the other, the looks come at most this many times as often.
const AT_MOST: u32 = 20;

/// The number of holders whose end is watched. If there are more, the end of one hardly frees the
/// lock.
const WATCHED: usize = 64;

/// The limit of the wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Endless,
    For(Duration),
}

/// Looks until all locks are free in one look, or the time is over. Returns how long that took.
pub(crate) fn until_free(views: &mut [View], patience: Patience) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let mut pause = FIRST;
    while !views.iter().all(View::is_free) {
        if patience == Patience::Endless {
            views.iter().try_for_each(not_held_by_our_own_job)?;
        }
        let rest = match patience {
            Patience::Endless => Duration::MAX,
            Patience::For(limit) => limit.saturating_sub(begin.elapsed()),
        };
        if rest.is_zero() {
            break;
        }
        sleep(views, pause.min(rest));
        pause = (2 * pause).min(LONGEST);
        views.iter_mut().try_for_each(View::look)?;
    }
    Ok(begin.elapsed())
}

/// Fails if the job that waits for the end of this command holds the lock: then the lock never
/// becomes free.
fn not_held_by_our_own_job(view: &View) -> Result<(), Failure> {
    let us = std::process::id();
    if !inspect::is_proc_ours() {
        return Ok(());
    }
    // Removed files as well: the wait is for all of them.
    let is_kept = view.snapshot.files.iter().any(|file| {
        let mut kinds = file.locks.iter().map(|lock| lock.kind);
        kinds.any(|kind| inspect::kept_by_bound(us, file.file_id, kind, Mode::Exclusive).is_some())
    });
    if !is_kept {
        return Ok(());
    }
    let path = text::path(&view.path);
    Err(Failure::new(
        DEADLOCK,
        format!(
            "{path}: waiting would be a deadlock: the job that this command is part of holds the \
             lock until this command has ended"
        ),
    ))
}

/// Sleeps for `pause`, or until one of the holders has ended.
fn sleep(views: &[View], pause: Duration) {
    let least = pause / AT_MOST;
    let ends = ends(views);
    let mut fds: Vec<PollFd<'_>> = ends
        .iter()
        .map(|end| PollFd::new(end, PollFlags::IN))
        .collect();
    thread::sleep(least);
    if let Ok(rest) = (pause - least).try_into() {
        // If the sleep is interrupted or fails, the next look comes sooner.
        let _ = poll(&mut fds, Some(&rest));
    }
}

/// Descriptors that become readable when a holder has ended: its locks are released by then.
fn ends(views: &[View]) -> Vec<OwnedFd> {
    if !inspect::is_proc_ours() {
        return Vec::new();
    }
    let holders = views.iter().flat_map(View::holders).take(WATCHED);
    let pids = holders.filter_map(|holder| Pid::from_raw(holder.pid.try_into().ok()?));
    pids.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect()
}
