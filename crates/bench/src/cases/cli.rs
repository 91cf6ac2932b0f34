//! Commands that run a command under a lock, as whole processes: their time, their system calls,
//! their memory while they wait, and the time until the command starts after the lock is released.

mod calls;
pub(super) mod subjects;
pub(super) mod waiting;

use std::process::{Command, Stdio};
use std::time::Instant;

use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::{Bench, Outcome};
use subjects::{Kind, Subject, Subjects};

const NOTHING: &str = "/bin/true";

/// The measurements of one subject.
#[derive(Default)]
struct Figures {
    whole: Samples,
    handoff: Samples,
    rss: Samples,
    pss: Samples,
    calls: Option<f64>,
}

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "cli",
        "A command under a lock: the whole process around /bin/true, and a waiting one",
        &[
            Column::new("median_us", "median µs", 0),
            Column::new("p99_us", "p99 µs", 0),
            Column::new("over_true_us", "over true µs", 0),
            Column::new("ratio_flock", "x flock", 2),
            Column::new("system_calls", "system calls", 0),
            Column::new("rss_kb", "waiting RSS kB", 0),
            Column::new("pss_kb", "PSS kB", 0),
            Column::new("handoff_us", "hand-off µs", 0),
        ],
    );
    let Subjects { list, notes } = subjects::find(bench)?;
    for note in notes {
        report.note(note);
    }
    let mut figures: Vec<Figures> = list.iter().map(|_| Figures::default()).collect();
    take_turns(bench, &list, &mut figures)?;
    match calls::strace() {
        Ok(strace) => {
            for (subject, figures) in list.iter().zip(&mut figures) {
                figures.calls = Some(calls::count(&strace, subject, bench)?);
            }
        }
        Err(reason) => report.note(format!("skipped: system calls, {reason}")),
    }
    fill(&mut report, &list, &figures);
    Ok(report)
}

/// All measurements of time, interleaved.
fn take_turns(bench: &Bench, list: &[Subject], figures: &mut [Figures]) -> Outcome<()> {
    let rounds = bench.pick(1000, 150);
    for round in 0..=rounds {
        for (subject, figures) in list.iter().zip(&mut *figures) {
            let mut command = subject.around([NOTHING]);
            let micros =
                once(&mut command).map_err(|error| format!("{}: {error}", subject.name))?;
            // Once before the first round, so that everything is in memory.
            if round > 0 {
                figures.whole.push(micros);
            }
        }
    }
    let mut holder = waiting::holder(bench)?;
    for round in 0..bench.pick(200, 20) {
        for (subject, figures) in list.iter().zip(&mut *figures) {
            if subject.kind == Kind::Floor {
                continue;
            }
            // Reading the memory disturbs, so the rounds that count for time do not do it.
            let looked = round < 5;
            let waited = waiting::wait(&mut holder, subject, looked)
                .map_err(|error| format!("{}: {error}", subject.name))?;
            match waited.memory {
                Some([rss, pss]) => {
                    figures.rss.push(rss);
                    figures.pss.push(pss);
                }
                None => figures.handoff.push(waited.handoff_us),
            }
        }
    }
    Ok(())
}

/// Microseconds of one process.
fn once(command: &mut Command) -> Outcome<f64> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status()?;
    let time = start.elapsed();
    if !status.success() {
        return Err(status.to_string().into());
    }
    Ok(time.as_secs_f64() * 1e6)
}

fn fill(report: &mut Report, list: &[Subject], figures: &[Figures]) {
    let of = |kind: Kind| {
        let place = list.iter().position(|subject| subject.kind == kind);
        place.map(|place| &figures[place])
    };
    let whole = |kind| of(kind).map_or(f64::NAN, |figures| figures.whole.median());
    let (floor, peer) = (whole(Kind::Floor), whole(Kind::Flock));
    for (subject, figures) in list.iter().zip(figures) {
        let median = figures.whole.median();
        report.row(
            subject.name.as_str(),
            vec![
                median,
                figures.whole.p99(),
                median - floor,
                median / peer,
                figures.calls.unwrap_or(f64::NAN),
                figures.rss.median(),
                figures.pss.median(),
                figures.handoff.median(),
            ],
        );
    }
    report.note("hand-off: from the release until the waiting command's first byte is read");
    if of(Kind::Flock).is_none() {
        return;
    }
    if of(Kind::Run).is_some() {
        report.goal(
            "`holdlock run L -- /bin/true` over util-linux flock",
            Bound::AtMost(1.0),
            whole(Kind::Run) / peer,
            "x",
        );
    }
    if let (Some(ours), Some(theirs)) = (of(Kind::OurFlock), of(Kind::Flock)) {
        report.goal(
            "`flock L /bin/true` by holdlock over util-linux's",
            Bound::AtMost(0.75),
            ours.whole.median() / peer,
            "x",
        );
        report.goal(
            "resident memory of a waiting `flock` by holdlock over util-linux's",
            Bound::AtMost(1.0),
            ours.rss.median() / theirs.rss.median(),
            "x",
        );
    }
}
