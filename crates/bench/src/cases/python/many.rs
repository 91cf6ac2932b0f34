//! Many tasks, many locks, and many locks of others: what the Python module costs then, beside
//! filelock.

use super::peer::{Kind, PACKAGES};
use crate::report::{Bound, Column, Report};
use crate::{Bench, Outcome};

/// The place of a number in the line that the program prints.
const FAILURES: usize = 0;
const DESCRIPTORS: usize = 2;
const RELEASED: usize = 5;
const MISSING: usize = 6;

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "python-many",
        "Python: 1000 tasks on 100 busy locks with 1024 descriptors; 5000 released locks; 5000 held",
        &[
            Column::new("failures", "failures", 0),
            Column::new("threads", "threads", 0),
            Column::new("descriptors", "descriptors", 0),
            Column::new("memory_kib", "memory KiB", 0),
            Column::new("cpu_ms", "CPU ms", 0),
            Column::new("released_descriptors", "released: descriptors", 0),
            Column::new("missing_ms", "first acquire ms", 2),
        ],
    );
    let Some(packages) = &bench.python else {
        report.note("skipped: the packages are not there; `cargo xtask bench` installs them");
        return Ok(report);
    };
    report.note("threads, descriptors, memory and CPU: more than before, while the tasks wait");
    for package in &PACKAGES {
        if !matches!(package.kind, Kind::Holdlock | Kind::Filelock) {
            continue;
        }
        let place = bench.dir.join(format!("many-{}", package.directory));
        std::fs::create_dir_all(&place)?;
        let values = package.many(packages, &place)?;
        if package.kind == Kind::Holdlock {
            goals(&mut report, &values);
        }
        report.row(package.directory, values);
    }
    Ok(report)
}

fn goals(report: &mut Report, ours: &[f64]) {
    let mut at_most = |what, limit, number: usize, unit| {
        let measured = ours.get(number).copied().unwrap_or(f64::NAN);
        report.goal(what, Bound::AtMost(limit), measured, unit);
    };
    at_most("tasks that fail", 0.0, FAILURES, "tasks");
    at_most("1000 waiting tasks", 150.0, DESCRIPTORS, "descriptors more");
    at_most("5000 released locks", 64.0, RELEASED, "descriptors");
    at_most("a missing file, 5000 locks held", 8.0, MISSING, "ms");
}
