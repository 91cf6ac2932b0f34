//! Two processes of four threads each.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::threads::{report, rounds};
use crate::crew::{self, Tally, Task};
use crate::peers::Peer;
use crate::report::Report;
use crate::sys;
use crate::worker::{Job, Worker};
use crate::{Bench, Outcome};

pub(crate) const JOB: &str = "crew";

const PROCESSES: usize = 2;
const THREADS: usize = 4;

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let path = bench.dir.join("processes.lock");
    let mut boards = 0;
    let scores = rounds(bench, |peer, task, time| {
        boards += 1;
        let board = bench.dir.join(format!("board-{boards}"));
        once(&path, &board, peer, task, time, (PROCESSES, THREADS))
    })?;
    let title = "2 processes of 4 threads each; fairness is Jain's index over the 8 threads";
    Ok(report("processes", title, &scores))
}

/// Runs this many processes of this many threads for some time.
pub(crate) fn once(
    path: &Path,
    board_path: &Path,
    peer: Peer,
    task: Task,
    time: Duration,
    (processes, threads): (usize, usize),
) -> Outcome<(Vec<Tally>, Duration)> {
    let board = sys::create_board(board_path)?;
    let board_name = board_path.to_str().ok_or("a directory that is not UTF-8")?;
    let stay = task.stay.as_nanos().to_string();
    let watch = task.watch.to_string();
    let count = threads.to_string();
    let start = || Worker::start(JOB, peer, path, &[board_name, &stay, &watch, &count]);
    let mut workers = (0..processes)
        .map(|_| start())
        .collect::<Outcome<Vec<_>>>()?;
    for worker in &mut workers {
        worker.expect("ready")?;
    }
    for worker in &mut workers {
        worker.tell("go")?;
    }
    let start = Instant::now();
    std::thread::sleep(time);
    board.stop();
    let elapsed = start.elapsed();
    let mut tallies = Vec::new();
    for worker in &mut workers {
        for _ in 0..threads {
            tallies.push(parse(&worker.hear()?)?);
        }
    }
    board.verify(tallies.iter().map(|tally| tally.acquired).sum())?;
    Ok((tallies, elapsed))
}

fn parse(line: &str) -> Outcome<Tally> {
    let (acquired, wait) = line.split_once(' ').ok_or("a tally without a space")?;
    Ok(Tally {
        acquired: acquired.parse()?,
        longest_wait: Duration::from_nanos(wait.parse()?),
    })
}

pub(crate) fn job(job: &Job) -> Outcome<()> {
    let board = sys::open_board(&job.more::<PathBuf>(0)?)?;
    let task = Task {
        stay: Duration::from_nanos(job.more(1)?),
        watch: job.more(2)?,
    };
    let locks = job.peer.open_for_threads(&job.path, job.more(3)?)?;
    job.tell("ready")?;
    if job.hear()?.is_none() {
        return Ok(());
    }
    for tally in crew::work(locks, board, task, || Ok(()))? {
        let wait = tally.longest_wait.as_nanos();
        job.tell(format_args!("{} {wait}", tally.acquired))?;
    }
    Ok(())
}
