//! Threads that take a lock again and again.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::board::Board;
use crate::peers::Lock;
use crate::sys;

/// The work of one thread.
#[derive(Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) acquired: u64,
    /// The longest time from a release until the next release, which with a short section is the
    /// wait. Zero unless [`Task::watch`] is set.
    pub(crate) longest_wait: Duration,
}

/// The task of the threads.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// How long to stay inside.
    pub(crate) stay: Duration,
    /// Whether to read the clock after each acquisition. That takes a fifth of the time of the
    /// fastest acquisitions, so rounds that count acquisitions do not do it.
    pub(crate) watch: bool,
}

/// Runs one thread for each lock until the board says stop. Calls `begun` when the threads may
/// begin.
pub(crate) fn work(
    locks: Vec<Box<dyn Lock>>,
    board: &Board,
    task: Task,
    begun: impl FnOnce() -> Outcome<()>,
) -> Outcome<Vec<Tally>> {
    let start = std::sync::Barrier::new(locks.len() + 1);
    std::thread::scope(|scope| {
        let one = |mut lock: Box<dyn Lock>| {
            let start = &start;
            scope.spawn(move || {
                start.wait();
                one(&mut *lock, board, task)
            })
        };
        let threads: Vec<_> = locks.into_iter().map(one).collect();
        start.wait();
        let begun = begun();
        if begun.is_err() {
            board.stop();
        }
        let tallies = threads.into_iter().map(|thread| match thread.join() {
            Ok(tally) => tally,
            Err(_) => Err("a thread panicked".into()),
        });
        let tallies = tallies.collect();
        begun.and(tallies)
    })
}

fn one(lock: &mut dyn Lock, board: &Board, task: Task) -> Outcome<Tally> {
    let mut tally = Tally {
        acquired: 0,
        longest_wait: Duration::ZERO,
    };
    let mut busy = || {
        if !task.stay.is_zero() {
            let until = sys::monotonic() + task.stay.as_nanos() as u64;
            while sys::monotonic() < until {
                std::hint::spin_loop();
            }
        }
    };
    let mut before = Instant::now();
    while !board.stopped() {
        if let Err(error) = lock.exclusive(&mut || board.visit(&mut busy)) {
            board.stop();
            return Err(error.into());
        }
        tally.acquired += 1;
        if task.watch {
            let now = Instant::now();
            tally.longest_wait = tally.longest_wait.max(now - before);
            before = now;
        }
    }
    Ok(tally)
}
