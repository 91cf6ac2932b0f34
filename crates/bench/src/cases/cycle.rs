//! Uncontended lock and unlock.

use crate::peers::Peer;
use crate::report::{Bound, Column, Report};
use crate::turns::{self, Subject};
use crate::{Bench, Outcome};

const PEERS: &[Peer] = &[
    Peer::Raw,
    Peer::RawChecked,
    Peer::RawSure,
    Peer::LibcChecked,
    Peer::Std,
    Peer::Fs4,
    Peer::FdLock,
    Peer::Holdlock,
];

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let path = bench.dir.join("cycle.lock");
    let subject = |peer: &Peer| -> Outcome<Subject<'_>> {
        let mut lock = peer.open(&path)?;
        Ok(Subject {
            name: peer.name(),
            once: Box::new(move || Ok(lock.exclusive(&mut || {})?)),
        })
    };
    let mut subjects = PEERS.iter().map(subject).collect::<Outcome<Vec<_>>>()?;
    let samples = turns::take(&mut subjects, bench.pick(2000, 300), 250)?;

    let mut report = Report::new(
        "cycle",
        "Uncontended lock and unlock, the file kept open; only those with lstat, and holdlock, see \
         that the file is still at its path; only that with fcntl, and holdlock, that the \
         descriptor is still the file",
        &[
            Column::new("median_ns", "median ns", 0),
            Column::new("ratio_raw", "x raw", 2),
            Column::new("ratio_raw_checked", "x raw + lstat", 2),
            Column::new("ratio_raw_sure", "x raw + lstat + fcntl", 2),
        ],
    );
    let raw = samples[0].median();
    let checked = samples[1].median();
    let sure = samples[2].median();
    for (subject, samples) in subjects.iter().zip(&samples) {
        let median = samples.median();
        report.row(
            subject.name.as_str(),
            vec![median, median / raw, median / checked, median / sure],
        );
    }
    let holdlock = samples[PEERS.len() - 1].median();
    report.goal(
        "uncontended holdlock cycle over the same system calls by hand",
        Bound::AtMost(1.10),
        holdlock / sure,
        "x",
    );
    report.note("raw: the system calls inlined (rustix); libc: through its functions, as in C");
    Ok(report)
}
