//! Many processes in a tight loop: whether each gets its share.

use std::time::Duration;

use super::processes;
use crate::crew::Task;
use crate::peers::Peer;
use crate::report::{Bound, Column, Report};
use crate::stats::{Samples, fairness};
use crate::{Bench, Outcome};

const PROCESSES: usize = 32;
const PEERS: [(&str, Peer); 3] = [
    ("raw flock", Peer::Raw),
    ("holdlock", Peer::Holdlock),
    ("holdlock, fair", Peer::HoldlockFair),
];

/// The measurements of one peer.
#[derive(Default)]
struct Score {
    rate: Samples,
    fairness: Samples,
    longest: Samples,
}

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut scores: [Score; PEERS.len()] = Default::default();
    for round in 0..bench.pick(3, 1) {
        for ((_, peer), score) in PEERS.iter().zip(&mut scores) {
            let name = format!("fair-{}-{round}", peer.name());
            let task = Task {
                stay: Duration::ZERO,
                watch: true,
            };
            let (tallies, time) = processes::once(
                &bench.dir.join(format!("{name}.lock")),
                &bench.dir.join(format!("{name}.board")),
                *peer,
                task,
                Duration::from_millis(bench.pick(3000, 1000)),
                (PROCESSES, 1),
            )?;
            let shares: Vec<u64> = tallies.iter().map(|tally| tally.acquired).collect();
            let sum = shares.iter().sum::<u64>() as f64;
            score.rate.push(sum / time.as_secs_f64());
            score.fairness.push(fairness(&shares));
            for tally in &tallies {
                score.longest.push(tally.longest_wait.as_secs_f64() * 1e3);
            }
        }
    }
    let mut report = Report::new(
        "fair",
        "32 processes in a tight loop; fairness is Jain's index",
        &[
            Column::new("acquisitions_per_second", "acquired/s", 0),
            Column::new("longest_wait_ms", "longest wait ms", 1),
            Column::new("fairness", "fairness", 3),
        ],
    );
    for ((name, _), score) in PEERS.iter().zip(&scores) {
        let values = vec![
            score.rate.median(),
            score.longest.max(),
            score.fairness.median(),
        ];
        report.row(*name, values);
    }
    report.goal(
        "Jain's index of 32 processes with fair locks",
        Bound::AtLeast(0.95),
        scores[2].fairness.median(),
        "",
    );
    Ok(report)
}
