//! The time from the release in one process until another process has the lock.

use std::time::Duration;

use crate::peers::{Lock, Peer};
use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::worker::{Job, Worker};
use crate::{Bench, Outcome, asleep, sys};

pub(crate) const JOB: &str = "handoff";

const DEADLINE: Peer = Peer::HoldlockFor { millis: 10_000 };
const PEERS: &[Peer] = &[
    Peer::Raw,
    Peer::RawChecked,
    Peer::Std,
    Peer::Fs4,
    Peer::FdLock,
    Peer::Holdlock,
    DEADLINE,
    Peer::StdPoll { millis: 1 },
];

/// The two sides of one peer.
struct Pair {
    lock: Box<dyn Lock>,
    waiter: Worker,
    samples: Samples,
}

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let cpus = sys::cpus()?;
    let (Some(here), Some(there)) = (cpus.first(), cpus.get(1).or(cpus.first())) else {
        return Err("no CPU to run on".into());
    };
    let mut apart = pairs(bench, "apart", *there)?;
    let mut together = pairs(bench, "together", *here)?;
    // Waking a process on another CPU takes longer than on the same one. The choice of the
    // scheduler would decide more than the peer does.
    let pinned = sys::pin(*here)?;
    for round in 0..bench.pick(400, 40) {
        for pair in apart
            .iter_mut()
            .zip(PEERS)
            .chain(together.iter_mut().zip(PEERS))
        {
            measure(pair.0, *pair.1, round)?;
        }
    }
    drop(pinned);
    Ok(report(&apart, &together, cpus.len() > 1))
}

fn pairs(bench: &Bench, placement: &str, cpu: usize) -> Outcome<Vec<Pair>> {
    let pair = |(number, peer): (usize, &Peer)| {
        let path = bench.dir.join(format!("handoff-{placement}-{number}.lock"));
        let mut waiter = Worker::start(JOB, *peer, &path, &[&cpu.to_string()])?;
        waiter.expect("ready")?;
        Ok(Pair {
            lock: peer.open(&path)?,
            waiter,
            samples: Samples::default(),
        })
    };
    PEERS.iter().enumerate().map(pair).collect()
}

fn measure(pair: &mut Pair, peer: Peer, round: u64) -> Outcome<()> {
    let mut released = Ok(0);
    let waiter = &mut pair.waiter;
    pair.lock.exclusive(&mut || {
        released = lure(waiter, peer, round).map(|()| sys::monotonic());
    })?;
    let acquired: u64 = waiter.hear()?.parse()?;
    let waited = acquired.saturating_sub(released?);
    pair.samples.push(waited as f64 / 1000.0);
    Ok(())
}

/// Gets the waiter to wait.
fn lure(waiter: &mut Worker, peer: Peer, round: u64) -> Outcome<()> {
    waiter.tell("lock")?;
    if peer.queues() {
        asleep::wait_for_one(waiter.pid());
        return Ok(());
    }
    // Every moment between two polls should be as likely.
    let phase = Duration::from_micros(round * 617 % 1000);
    std::thread::sleep(Duration::from_millis(3) + phase);
    Ok(())
}

pub(crate) fn job(job: &Job) -> Outcome<()> {
    let _pinned = sys::pin(job.more(0)?)?;
    let mut lock = job.peer.open(&job.path)?;
    job.tell("ready")?;
    while job.hear()?.is_some() {
        let mut acquired = 0;
        lock.exclusive(&mut || acquired = sys::monotonic())?;
        job.tell(acquired)?;
    }
    Ok(())
}

fn report(apart: &[Pair], together: &[Pair], has_two: bool) -> Report {
    let mut report = Report::new(
        "handoff",
        "Released in one process until acquired in another, where the waiter sleeps",
        &[
            Column::new("two_cpus_p50_us", "two CPUs p50 µs", 1),
            Column::new("two_cpus_p99_us", "p99 µs", 1),
            Column::new("two_cpus_ratio_raw", "x raw p50", 2),
            Column::new("one_cpu_p50_us", "one CPU p50 µs", 1),
            Column::new("one_cpu_p99_us", "p99 µs", 1),
            Column::new("one_cpu_ratio_raw", "x raw p50", 2),
        ],
    );
    let raw = [&apart[0], &together[0]].map(|pair| pair.samples.median());
    let mut deadline = [f64::NAN; 2];
    for ((peer, apart), together) in PEERS.iter().zip(apart).zip(together) {
        let (apart, together) = (&apart.samples, &together.samples);
        let ratios = [apart.median() / raw[0], together.median() / raw[1]];
        if *peer == DEADLINE {
            deadline = ratios;
        }
        report.row(
            peer.name(),
            vec![
                apart.median(),
                apart.p99(),
                ratios[0],
                together.median(),
                together.p99(),
                ratios[1],
            ],
        );
    }
    if !has_two {
        report.note("there is one CPU only: both halves show the same");
    }
    let limit = Bound::AtMost(1.2);
    report.goal(
        "hand-off to a holdlock waiter with a deadline over blocking flock, two CPUs",
        limit,
        deadline[0],
        "x",
    );
    report.goal(
        "hand-off to a holdlock waiter with a deadline over blocking flock, one CPU",
        limit,
        deadline[1],
        "x",
    );
    report
}
