//! Processor time of many waiters.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::peers::{Lock, Peer};
use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::worker::{Job, Worker};
use crate::{Bench, Outcome, asleep, sys};

pub(crate) const THREADS_JOB: &str = "waiting-threads";
pub(crate) const SINGLE_JOB: &str = "waiting";

const WAITERS: usize = 100;
/// The time after which polling waiters surely sleep. /proc/locks does not show them.
const POLLERS_SETTLE: Duration = Duration::from_millis(200);

/// One way of waiting.
struct Way {
    name: String,
    peer: Peer,
    processes: bool,
    expires: bool,
}

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let time = Duration::from_millis(bench.pick(3000, 1500));
    let ways = ways(time);
    let mut samples = vec![[Samples::default(), Samples::default()]; ways.len()];
    for round in 0..bench.pick(2, 1) {
        for (number, (way, samples)) in ways.iter().zip(&mut samples).enumerate() {
            let path = bench.dir.join(format!("waiters-{number}-{round}.lock"));
            let [whole, asleep] = if way.processes {
                [by_processes(&path, way, time)?, f64::NAN]
            } else {
                by_threads(&path, way, time)?
            };
            samples[0].push(whole);
            samples[1].push(asleep);
        }
    }
    Ok(report(&ways, &samples))
}

fn ways(time: Duration) -> Vec<Way> {
    let way = |name: &str, peer: Peer| Way {
        name: name.into(),
        peer,
        processes: false,
        expires: false,
    };
    let timed = Peer::HoldlockFor { millis: 60_000 };
    let expiring = Peer::HoldlockFor {
        millis: time.as_millis() as u64,
    };
    let poll = |millis| {
        let peer = Peer::StdPoll { millis };
        way(&peer.name(), peer)
    };
    vec![
        way("holdlock with a deadline, threads", timed),
        Way {
            processes: true,
            ..way("holdlock with a deadline, processes", timed)
        },
        Way {
            expires: true,
            ..way("holdlock, deadline passes, threads", expiring)
        },
        way("raw flock without a deadline, threads", Peer::Raw),
        Way {
            processes: true,
            ..way("raw flock without a deadline, processes", Peer::Raw)
        },
        way("std without a deadline, threads", Peer::Std),
        way("fs4 without a deadline, threads", Peer::Fs4),
        way("fd-lock without a deadline, threads", Peer::FdLock),
        poll(50),
        poll(1),
    ]
}

fn report(ways: &[Way], samples: &[[Samples; 2]]) -> Report {
    let mut report = Report::new(
        "waiters",
        "CPU time of 100 waiters, per second of waiting; their set-up is not counted",
        &[
            Column::new("whole_us_per_second", "whole wait µs/s", 1),
            Column::new("asleep_us_per_second", "while asleep µs/s", 1),
        ],
    );
    for (way, samples) in ways.iter().zip(samples) {
        let values = samples.iter().map(Samples::median).collect();
        report.row(way.name.as_str(), values);
    }
    report.note(
        "whole wait: with its begin and end, the acquisition or the error included, spread over \
         the time",
    );
    report.goal(
        "CPU time of a holdlock waiter with a deadline",
        Bound::AtMost(60.0),
        samples[0][0].median(),
        "µs per waiter-second",
    );
    report
}

/// Holds the lock in this process until dropped.
fn hold(path: &Path) -> Outcome<File> {
    let file = File::create_new(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// One process with all waiters: CPU µs per waiter-second, whole and in the middle.
fn by_threads(path: &Path, way: &Way, time: Duration) -> Outcome<[f64; 2]> {
    let held = hold(path)?;
    let mut worker = Worker::start(THREADS_JOB, way.peer, path, &[])?;
    worker.expect("ready")?;
    worker.tell("go")?;
    let start = Instant::now();
    if way.peer.queues() {
        asleep::wait_for_all(&[worker.pid()], WAITERS)?;
    } else {
        std::thread::sleep(POLLERS_SETTLE);
    }
    let cpu_time = |worker: &mut Worker| -> Outcome<f64> {
        worker.tell("cpu")?;
        Ok(worker.hear()?.parse::<u64>()? as f64)
    };
    let middle = Instant::now();
    let before = cpu_time(&mut worker)?;
    // If the deadline ends the wait, measure before it.
    let end = if way.expires { time * 9 / 10 } else { time };
    std::thread::sleep(end.saturating_sub(start.elapsed()));
    let asleep = cpu_time(&mut worker)? - before;
    let middle = middle.elapsed();
    let waited = if way.expires { time } else { start.elapsed() };
    if !way.expires {
        drop(held);
    }
    worker.tell("end")?;
    let line = worker.hear()?;
    let (whole, expired) = line.split_once(' ').ok_or("an answer without a space")?;
    let expected = if way.expires { WAITERS } else { 0 };
    if expired.parse::<usize>()? != expected {
        return Err(format!("{expired} waits ran into their deadline, not {expected}").into());
    }
    let per_waiter_second =
        |nanos: f64, time: Duration| nanos / 1e3 / time.as_secs_f64() / WAITERS as f64;
    Ok([
        per_waiter_second(whole.parse()?, waited),
        per_waiter_second(asleep, middle),
    ])
}

/// Many threads, each with a lock of its own.
pub(crate) fn threads_job(job: &Job) -> Outcome<()> {
    let open = |_| job.peer.open(&job.path);
    let locks = (0..WAITERS).map(open).collect::<Result<Vec<_>, _>>()?;
    let start = Barrier::new(WAITERS + 1);
    let end = Barrier::new(WAITERS + 1);
    let expired = AtomicUsize::new(0);
    let left = AtomicUsize::new(WAITERS);
    let cpu_time = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for mut lock in locks {
            let (start, end, expired) = (&start, &end, &expired);
            let (left, cpu_time) = (&left, &cpu_time);
            scope.spawn(move || {
                start.wait();
                match wait(&mut *lock) {
                    Ok(true) => {}
                    Ok(false) => drop(expired.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => eprintln!("holdlock-bench: a waiter: {error}"),
                }
                // Before any of the threads ends: the end of a thread is not part of a wait.
                if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                    cpu_time.store(sys::cpu_time(), Ordering::Relaxed);
                }
                end.wait();
            });
        }
        job.tell("ready")?;
        job.hear()?;
        let before = sys::cpu_time();
        start.wait();
        while job.hear()?.is_some_and(|line| line == "cpu") {
            job.tell(sys::cpu_time())?;
        }
        end.wait();
        let used = cpu_time.load(Ordering::Relaxed) - before;
        job.tell(format_args!("{used} {}", expired.load(Ordering::Relaxed)))
    })
}

/// Whether the lock was acquired before the deadline.
fn wait(lock: &mut dyn Lock) -> std::io::Result<bool> {
    match lock.exclusive(&mut || {}) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(false),
        Err(error) => Err(error),
    }
}

/// A process for each waiter: CPU µs per waiter-second.
fn by_processes(path: &Path, way: &Way, time: Duration) -> Outcome<f64> {
    let held = hold(path)?;
    let start = |_| Worker::start(SINGLE_JOB, way.peer, path, &[]);
    let mut workers = (0..WAITERS).map(start).collect::<Outcome<Vec<_>>>()?;
    for worker in &mut workers {
        worker.expect("ready")?;
    }
    let start = Instant::now();
    for worker in &mut workers {
        worker.tell("go")?;
    }
    let pids: Vec<u32> = workers.iter().map(Worker::pid).collect();
    asleep::wait_for_all(&pids, WAITERS)?;
    std::thread::sleep(time.saturating_sub(start.elapsed()));
    let waited = start.elapsed();
    drop(held);
    let mut sum = 0.0;
    for worker in &mut workers {
        sum += worker.hear()?.parse::<f64>()?;
    }
    Ok(sum / 1e3 / waited.as_secs_f64() / WAITERS as f64)
}

/// One waiter, the only thread of its process that does anything.
pub(crate) fn single_job(job: &Job) -> Outcome<()> {
    let mut lock = job.peer.open(&job.path)?;
    job.tell("ready")?;
    job.hear()?;
    let before = sys::cpu_time();
    lock.exclusive(&mut || {})?;
    job.tell(sys::cpu_time() - before)
}
