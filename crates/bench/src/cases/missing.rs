//! The first acquisition, which creates the lock file, while other processes hold many locks.

use std::path::Path;
use std::time::{Duration, Instant};

use super::crowd::Crowd;
use super::kernel_table::{self, PAUSE};
use crate::peers::Peer;
use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::{Bench, Outcome};

const PEERS: [Peer; 4] = [Peer::Raw, Peer::Std, Peer::FdLock, Peer::Holdlock];
const LOCKS: [usize; 5] = [0, 100, 1000, 5000, 10_000];

/// The holders of the other locks, which are on files of another directory.
const CROWDS: [(usize, &str); 2] = [(1, "1 process"), (500, "500 processes")];

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "missing",
        "The first acquisition, with other locks held: medians in ms",
        &[
            Column::new("warm_ms", "warm ms", 3),
            Column::new("cold_ms", "cold ms", 3),
            Column::new("best_ms", "best warm ms", 3),
        ],
    );
    for (processes, holders) in CROWDS {
        let dir = bench.dir.join(format!("crowd-of-{processes}"));
        std::fs::create_dir(&dir)?;
        let mut crowd = Crowd::start(&dir, processes)?;
        for locks in LOCKS {
            crowd.hold(locks)?;
            let path = bench.dir.join("missing.lock");
            let rounds = bench.pick(40, 10);
            let warm = kernel_table::warm(|| take_turns(&path, rounds, Duration::ZERO))?;
            let cold = take_turns(&path, rounds / 2, PAUSE)?;
            for ((peer, warm), cold) in PEERS.into_iter().zip(&warm).zip(&cold) {
                report.row(
                    format!("{locks:>5} locks of {holders}: {}", peer.name()),
                    vec![warm.median(), cold.median(), warm.quantile(0.0)],
                );
            }
            if locks == 5000 {
                report.goal(
                    if processes == 1 {
                        "the first acquisition with 5 000 locks of one process, warm"
                    } else {
                        "the first acquisition with 5 000 locks of 500 processes, warm"
                    },
                    Bound::AtMost(8.0),
                    warm.last().map_or(f64::NAN, Samples::median),
                    "ms",
                );
            }
        }
    }
    report.note("holdlock alone looks for a living holder of a removed file of that name");
    report.note("warm: /proc/locks was read just before, and another thread goes on to do so");
    report.note(
        "cold: nobody has read it for 50 ms; the kernel then waits for a grace period of RCU",
    );
    Ok(report)
}

/// Milliseconds of each peer. The first round is not measured.
fn take_turns(path: &Path, rounds: u32, pause: Duration) -> Outcome<Vec<Samples>> {
    let mut samples = vec![Samples::default(); PEERS.len()];
    for round in 0..=rounds {
        for (peer, samples) in PEERS.into_iter().zip(&mut samples) {
            std::thread::sleep(pause);
            if pause.is_zero() {
                kernel_table::peek();
            }
            let start = Instant::now();
            peer.open(path)?.exclusive(&mut || {})?;
            let time = start.elapsed();
            std::fs::remove_file(path)?;
            if round > 0 {
                samples.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(samples)
}
