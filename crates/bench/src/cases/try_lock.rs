//! A try that fails because another process holds the lock.

use super::held_elsewhere;
use crate::peers::Peer;
use crate::report::{Column, Report};
use crate::turns::{self, Subject};
use crate::{Bench, Outcome};

const PEERS: &[Peer] = &[
    Peer::Raw,
    Peer::Std,
    Peer::Fs4,
    Peer::FdLock,
    Peer::Holdlock,
];

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let path = bench.dir.join("try.lock");
    let holder = held_elsewhere(&path)?;
    let subject = |peer: &Peer| -> Outcome<Subject<'_>> {
        let mut lock = peer.open(&path)?;
        let once = move || match lock.try_exclusive(&mut || ())? {
            false => Ok(()),
            true => Err("got a lock that another process holds".into()),
        };
        Ok(Subject {
            name: peer.name(),
            once: Box::new(once),
        })
    };
    let mut subjects = PEERS.iter().map(subject).collect::<Outcome<Vec<_>>>()?;
    let samples = turns::take(&mut subjects, bench.pick(1000, 200), 500)?;
    drop(holder);

    let mut report = Report::new(
        "try",
        "A failed try: another process holds the lock",
        &[
            Column::new("median_ns", "median ns", 0),
            Column::new("ratio_raw", "x raw", 2),
        ],
    );
    let raw = samples[0].median();
    for (subject, samples) in subjects.iter().zip(&samples) {
        let median = samples.median();
        report.row(subject.name.as_str(), vec![median, median / raw]);
    }
    Ok(report)
}
