//! Threads of one process.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::board::Board;
use crate::crew::{self, Tally, Task};
use crate::peers::Peer;
use crate::report::{Bound, Column, Report};
use crate::stats::{Samples, fairness};
use crate::{Bench, Outcome};

const THREADS: usize = 8;
/// The times in one round for counting acquisitions and for measuring waits.
const COUNT: Duration = Duration::from_millis(500);
const WATCH: Duration = Duration::from_millis(300);

/// The contenders, here and in the case `processes`.
pub(crate) const PEERS: &[(&str, Peer)] = &[
    ("raw flock, a descriptor per thread", Peer::Raw),
    (
        "raw flock + lstat, a descriptor per thread",
        Peer::RawChecked,
    ),
    ("std, a File per thread", Peer::Std),
    ("fs4, a File per thread", Peer::Fs4),
    ("fd-lock, an RwLock per thread", Peer::FdLock),
    ("holdlock, a FileLock per thread", Peer::Holdlock),
    ("holdlock, one FileLock per process", Peer::HoldlockShared),
];

/// How long a thread holds the lock: as short as possible, and longer than a system call takes, so
/// that the file could have been removed in the meantime.
pub(crate) const STAYS: &[(&str, Duration)] = &[
    ("", Duration::ZERO),
    (", 1 µs inside", Duration::from_micros(1)),
];

pub(crate) const COLUMNS: &[Column] = &[
    Column::new("acquisitions_per_second", "acquired/s", 0),
    Column::new("ratio_raw", "x raw", 2),
    Column::new("longest_wait_ms", "longest wait ms", 1),
    Column::new("fairness", "fairness", 3),
];

/// The rounds of one contender.
#[derive(Default)]
pub(crate) struct Score {
    rate: Samples,
    longest_wait: Samples,
    fairness: Samples,
}

impl Score {
    fn count(&mut self, tallies: &[Tally], time: Duration) {
        let shares: Vec<u64> = tallies.iter().map(|tally| tally.acquired).collect();
        let sum = shares.iter().sum::<u64>() as f64;
        self.rate.push(sum / time.as_secs_f64());
        self.fairness.push(fairness(&shares));
    }

    fn watch(&mut self, tallies: &[Tally]) {
        for tally in tallies {
            let wait = tally.longest_wait.as_secs_f64();
            self.longest_wait.push(wait * 1e3);
        }
    }
}

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let path = bench.dir.join("threads.lock");
    let scores = rounds(bench, |peer, task, time| once(&path, peer, task, time))?;
    let title = "8 threads of one process; fairness is Jain's index";
    let mut report = report("threads", title, &scores);
    let (raw, shared) = (&scores[0], &scores[PEERS.len() - 1]);
    report.goal(
        "threads with one FileLock over one raw descriptor per thread",
        Bound::AtLeast(5.0),
        shared.rate.median() / raw.rate.median(),
        "x",
    );
    Ok(report)
}

/// Runs all contenders in turn, several times. Scores are in the order of [`STAYS`] and [`PEERS`].
pub(crate) fn rounds(
    bench: &Bench,
    mut once: impl FnMut(Peer, Task, Duration) -> Outcome<(Vec<Tally>, Duration)>,
) -> Outcome<Vec<Score>> {
    let contenders = || {
        let with = |stay: &'static Duration| PEERS.iter().map(|(_, peer)| (*peer, *stay));
        STAYS.iter().flat_map(move |(_, stay)| with(stay))
    };
    let mut scores: Vec<Score> = contenders().map(|_| Score::default()).collect();
    for _ in 0..bench.pick(3, 1) {
        for (score, (peer, stay)) in scores.iter_mut().zip(contenders()) {
            let task = |watch| Task { stay, watch };
            let (tallies, time) = once(peer, task(false), bench.pick(COUNT, COUNT / 5))?;
            score.count(&tallies, time);
            let (tallies, _) = once(peer, task(true), bench.pick(WATCH, WATCH / 5))?;
            score.watch(&tallies);
        }
    }
    Ok(scores)
}

fn once(path: &Path, peer: Peer, task: Task, time: Duration) -> Outcome<(Vec<Tally>, Duration)> {
    let locks = peer.open_for_threads(path, THREADS)?;
    let board = Board::default();
    let mut elapsed = time;
    let tallies = crew::work(locks, &board, task, || {
        let start = Instant::now();
        std::thread::sleep(time);
        board.stop();
        elapsed = start.elapsed();
        Ok(())
    })?;
    board.verify(tallies.iter().map(|tally| tally.acquired).sum())?;
    Ok((tallies, elapsed))
}

pub(crate) fn report(case: &'static str, title: &'static str, scores: &[Score]) -> Report {
    let mut report = Report::new(case, title, COLUMNS);
    for ((stay, _), scores) in STAYS.iter().zip(scores.chunks(PEERS.len())) {
        let raw = scores[0].rate.median();
        for ((name, _), score) in PEERS.iter().zip(scores) {
            let rate = score.rate.median();
            report.row(
                format!("{name}{stay}"),
                vec![
                    rate,
                    rate / raw,
                    score.longest_wait.max(),
                    score.fairness.median(),
                ],
            );
        }
    }
    report
}
