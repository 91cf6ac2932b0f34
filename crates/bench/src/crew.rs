//! Threads that take a lock again and again.

use std::time::{Duration, Instant};

use crate::Outcome;
use crate::board::Board;
use crate::peers::Lock;
use crate::sys;

/// What one thread has done.
#[derive(Clone, Copy)]
pub(crate) struct Tally {
    pub(crate) acquired: u64,
    /// From a release until the next release: with a short section, the wait.
    /// Zero unless it was watched.
    pub(crate) longest_wait: Duration,
}

/// What the threads are to do.
#[derive(Clone, Copy)]
pub(crate) struct Task {
    /// How long to stay inside.
    pub(crate) stay: Duration,
    /// Whether to look at the clock after each acquisition. That takes a fifth
    /// of the time of the quickest ones, so who counts does not look.
    pub(crate) watch: bool,
}

/// One thread for each lock, until the board says stop. `begun` is called when
/// they may begin.
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
