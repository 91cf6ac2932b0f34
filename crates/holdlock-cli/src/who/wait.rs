//! Waiting until a lock is free without taking it.
//!
//! Nothing reports a release to a bystander: neither inotify nor poll(2) does, and whoever
//! queues for the lock is in the way of others. So it is looked at again, the less
//! often the longer it takes, because a look makes the kernel work (see the library's
//! `inspect`). The end of a holder, which is how most locks are released, wakes us.

use std::os::fd::OwnedFd;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Patience;
use super::view::View;
use crate::exit::Failure;

/// After so long it is looked at again; then after twice that, and so on.
const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// Where holders end one after the other, it is looked at this much more often.
const AT_MOST: u32 = 20;

/// Whose end is watched. With more of them, the end of one hardly frees the lock.
const WATCHED: usize = 64;

/// Looks until nobody holds the lock or the time is over, and returns how long that took.
pub(super) fn until_free(view: &mut View, patience: Patience) -> Result<Duration, Failure> {
    let begin = Instant::now();
    let mut pause = FIRST;
    while view.is_held() {
        let rest = match patience {
            Patience::Endless => Duration::MAX,
            Patience::For(limit) => limit.saturating_sub(begin.elapsed()),
        };
        if rest.is_zero() {
            break;
        }
        sleep(view, pause.min(rest));
        pause = (2 * pause).min(LONGEST);
        view.look()?;
    }
    Ok(begin.elapsed())
}

/// Sleeps so long, or until one of the holders has ended.
fn sleep(view: &View, pause: Duration) {
    let least = pause / AT_MOST;
    let ends = ends(view);
    let mut fds: Vec<PollFd<'_>> = ends
        .iter()
        .map(|end| PollFd::new(end, PollFlags::IN))
        .collect();
    thread::sleep(least);
    if let Ok(rest) = (pause - least).try_into() {
        // Interrupted or out of memory: it is looked at sooner, or not.
        let _ = poll(&mut fds, Some(&rest));
    }
}

/// Descriptors that become readable when a holder has ended: its locks are released by then.
fn ends(view: &View) -> Vec<OwnedFd> {
    if !holdlock::inspect::is_proc_ours() {
        return Vec::new();
    }
    let holders = view.holders();
    let pids = holders.iter().take(WATCHED);
    let pids = pids.filter_map(|holder| Pid::from_raw(holder.pid.try_into().ok()?));
    pids.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect()
}
