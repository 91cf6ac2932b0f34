//! How late a wait ends after its deadline.

use std::time::{Duration, Instant};

use holdlock::{Error, FileLock};

use super::held_elsewhere;
use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::{Bench, Outcome};

const WAIT: Duration = Duration::from_millis(20);

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let path = bench.dir.join("deadline.lock");
    let holder = held_elsewhere(&path)?;
    let lock = FileLock::open(&path)?;
    let mut floor = Samples::default();
    let mut ended = Samples::default();
    let mut returned = Samples::default();
    let late = |waited: Duration| waited.saturating_sub(WAIT).as_secs_f64() * 1e6;
    for _ in 0..bench.pick(300, 25) {
        let start = Instant::now();
        std::thread::sleep(WAIT);
        floor.push(late(start.elapsed()));

        let start = Instant::now();
        let result = lock.try_lock_for(WAIT).map(drop);
        let waited = start.elapsed();
        match result {
            Err(Error::TimedOut(conflict)) => {
                returned.push(late(waited));
                ended.push(late(conflict.waited()));
            }
            Err(error) => return Err(error.into()),
            Ok(()) => return Err("got a lock that another process holds".into()),
        }
    }
    drop(holder);

    let mut report = Report::new(
        "deadline",
        "How late a wait of 20 ms ends",
        &[
            Column::new("p50_us", "p50 µs", 1),
            Column::new("p99_us", "p99 µs", 1),
        ],
    );
    let rows = [
        ("a plain sleep", &floor),
        ("holdlock try_lock_for, the wait itself", &ended),
        ("holdlock try_lock_for, until it returns", &returned),
    ];
    for (name, samples) in rows {
        report.row(name, vec![samples.median(), samples.p99()]);
    }
    report.note("between the two, the processes are looked up that hold the lock");
    report.goal(
        "median lateness of a holdlock wait that runs into its deadline",
        Bound::AtMost(200.0),
        returned.median(),
        "µs",
    );
    Ok(report)
}
