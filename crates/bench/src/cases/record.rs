//! What a record costs.

use std::os::unix::fs::FileExt;

use holdlock::{FileLock, LockOptions, Record, Request};

use crate::report::{Bound, Column, Report};
use crate::turns::{self, Subject};
use crate::{Bench, Outcome};

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let open = |name: &str, options: LockOptions| -> Outcome<FileLock> {
        Ok(options.open(bench.dir.join(name))?)
    };
    let off = open("off.lock", LockOptions::new())?;
    let on = open("on.lock", LockOptions::new().record(true))?;
    let bare = open("bare.lock", LockOptions::new().writable(true))?;
    let text = [b' '; Record::SIZE as usize];
    bare.lock()?.file().write_all_at(&text, 0)?;
    let mut found = [0; Record::SIZE as usize + 1];
    let noted = open("note.lock", LockOptions::new().record(true))?;
    let mut subjects = [
        Subject {
            name: "without a record".into(),
            once: Box::new(|| Ok(off.lock()?.release()?)),
        },
        Subject {
            name: "with a record".into(),
            once: Box::new(|| Ok(on.lock()?.release()?)),
        },
        Subject {
            name: "without, and the three calls of a record".into(),
            once: Box::new(|| {
                let guard = bare.lock()?;
                guard.file().read_at(&mut found, 0)?;
                guard.file().write_all_at(&text, 0)?;
                guard.file().write_all_at(&text, 0)?;
                Ok(guard.release()?)
            }),
        },
        Subject {
            name: "with a record and a note".into(),
            once: Box::new(|| {
                let request = Request::exclusive().note("migrating accounts");
                Ok(noted.acquire(request)?.release()?)
            }),
        },
        Subject {
            name: "shared, with a record".into(),
            once: Box::new(|| Ok(on.lock_shared()?.release()?)),
        },
    ];
    let samples = turns::take(&mut subjects, bench.pick(2000, 300), 250)?;

    let mut report = Report::new(
        "record",
        "Uncontended lock and unlock with LockOptions::record and without; the lock files in one \
         directory",
        &[
            Column::new("median_ns", "median ns", 0),
            Column::new("more_ns", "ns more", 0),
        ],
    );
    let without = samples[0].median();
    for (subject, samples) in subjects.iter().zip(&samples) {
        let median = samples.median();
        report.row(subject.name.as_str(), vec![median, median - without]);
    }
    report.goal(
        "what a record adds to an acquisition and its release",
        Bound::AtMost(2000.0),
        samples[1].median() - without,
        "ns",
    );
    Ok(report)
}
