//! Several locks at once: what a set costs, and how eight processes with overlapping sets fare.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdlock::{FileLock, LockOptions, LockSet, Request};

use crate::peers::Peer;
use crate::report::{Bound, Column, Report};
use crate::stats::fairness;
use crate::turns::{self, Subject};
use crate::worker::{Job, Worker};
use crate::{Bench, Outcome};

pub(crate) const JOB: &str = "sets";

const PROCESSES: usize = 8;
const LOCKS: usize = 12;
const COUNT: Duration = Duration::from_secs(2);

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "sets",
        "Uncontended cycles of two locks, and 8 processes with random sets of 2 to 12 of 12 locks; \
         fairness is Jain's index over the processes",
        &[
            Column::new("median_ns", "median ns", 0),
            Column::new("acquired_per_second", "acquired/s", 0),
            Column::new("longest_wait_ms", "longest wait ms", 0),
            Column::new("fairness", "fairness", 3),
        ],
    );
    uncontended(bench, &mut report)?;
    for fair in [false, true] {
        let crowd = crowd(bench, fair)?;
        let name = if fair { "fair locks" } else { "locks" };
        let row = vec![f64::NAN, crowd.rate, crowd.longest_wait_ms, crowd.fairness];
        report.row(format!("8 processes, sets of {name}"), row);
        report.goal(
            if fair {
                "Jain's index of 8 processes with overlapping sets of fair locks"
            } else {
                "Jain's index of 8 processes with overlapping sets"
            },
            Bound::AtLeast(0.8),
            crowd.fairness,
            "",
        );
    }
    Ok(report)
}

fn uncontended(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let open = |name: &str| LockOptions::new().open(bench.dir.join(name));
    let (a, b) = (open("a.lock")?, open("b.lock")?);
    let set = LockSet::new([&a, &b]);
    let options = LockOptions::new().upgradeable(true);
    let upgradeable = options.open(bench.dir.join("upgradeable.lock"))?;
    let mut subjects = [
        Subject {
            name: "two locks, one after the other".into(),
            once: Box::new(|| {
                let first = a.lock()?;
                b.lock()?.release()?;
                Ok(first.release()?)
            }),
        },
        Subject {
            name: "a set of two locks".into(),
            once: Box::new(|| Ok(set.lock()?.release()?)),
        },
        Subject {
            name: "shared".into(),
            once: Box::new(|| Ok(a.lock_shared()?.release()?)),
        },
        Subject {
            name: "shared, of an upgradeable lock".into(),
            once: Box::new(|| Ok(upgradeable.lock_shared()?.release()?)),
        },
        Subject {
            name: "with the right to upgrade".into(),
            once: Box::new(|| Ok(upgradeable.lock_upgradeable()?.release()?)),
        },
        Subject {
            name: "with an upgrade".into(),
            once: Box::new(|| {
                let mut guard = upgradeable.lock_upgradeable()?;
                guard.upgrade(Request::exclusive())?;
                Ok(guard.release()?)
            }),
        },
    ];
    let samples = turns::take(&mut subjects, bench.pick(2000, 300), 250)?;
    for (subject, samples) in subjects.iter().zip(&samples) {
        let row = vec![samples.median(), f64::NAN, f64::NAN, f64::NAN];
        report.row(subject.name.as_str(), row);
    }
    Ok(())
}

/// How a crowd fared.
struct Crowd {
    rate: f64,
    longest_wait_ms: f64,
    fairness: f64,
}

fn crowd(bench: &Bench, fair: bool) -> Outcome<Crowd> {
    let dir = bench.dir.join(format!("sets-{fair}"));
    std::fs::create_dir(&dir)?;
    let time = bench.pick(COUNT, COUNT / 5);
    let start = |seed: usize| {
        let more = [
            seed.to_string(),
            fair.to_string(),
            time.as_millis().to_string(),
        ];
        Worker::start(
            JOB,
            Peer::Holdlock,
            &dir,
            &more.each_ref().map(String::as_str),
        )
    };
    let mut workers = (0..PROCESSES).map(start).collect::<Outcome<Vec<_>>>()?;
    for worker in &mut workers {
        worker.expect("ready")?;
    }
    for worker in &mut workers {
        worker.tell("go")?;
    }
    let (mut shares, mut longest) = (Vec::new(), 0.0_f64);
    for worker in &mut workers {
        let tally = worker.hear()?;
        let (acquired, wait) = tally.split_once(' ').ok_or("a tally without a space")?;
        shares.push(acquired.parse::<u64>()?);
        longest = longest.max(wait.parse()?);
    }
    Ok(Crowd {
        rate: shares.iter().sum::<u64>() as f64 / time.as_secs_f64(),
        longest_wait_ms: longest,
        fairness: fairness(&shares),
    })
}

/// A process that acquires random sets for a time.
pub(crate) fn job(job: &Job) -> Outcome<()> {
    let (seed, fair, time): (u64, bool, u64) = (job.more(0)?, job.more(1)?, job.more(2)?);
    let locks = open_all(&job.path, fair)?;
    let mut random = seed + 1;
    job.tell("ready")?;
    if job.hear()?.is_none() {
        return Ok(());
    }
    let until = Instant::now() + Duration::from_millis(time);
    let (mut acquired, mut longest) = (0_u64, Duration::ZERO);
    while Instant::now() < until {
        let set = LockSet::new(choose(&locks, &mut random));
        let asked = Instant::now();
        let guard = set.lock()?;
        longest = longest.max(asked.elapsed());
        guard.release()?;
        acquired += 1;
    }
    job.tell(format_args!("{acquired} {}", longest.as_secs_f64() * 1e3))
}

fn open_all(dir: &Path, fair: bool) -> Outcome<Vec<FileLock>> {
    let options = LockOptions::new().fair(fair);
    let path = |number: usize| -> PathBuf { dir.join(format!("{number}.lock")) };
    let locks = (0..LOCKS).map(|number| options.open(path(number)));
    Ok(locks.collect::<Result<_, _>>()?)
}

/// Two locks or more, in a random order.
fn choose<'l>(locks: &'l [FileLock], random: &mut u64) -> Vec<&'l FileLock> {
    let mut below = |limit: usize| {
        // xorshift64
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
        (random.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) as usize % limit
    };
    let mut chosen: Vec<&FileLock> = locks.iter().collect();
    for at in 0..chosen.len() {
        chosen.swap(at, below(LOCKS));
    }
    chosen.truncate(2 + below(LOCKS - 1));
    chosen
}
