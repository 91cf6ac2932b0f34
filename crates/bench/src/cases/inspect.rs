//! Listing holders on a host with many processes and many locks: whole processes beside lslocks,
//! and the library's call.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::cli::subjects::{built_command, fresh, program};
use super::crowd::Crowd;
use super::kernel_table::{self, PAUSE};
use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::{Bench, Outcome};

const PROCESSES: usize = 500;

/// The numbers of locks, and the names of the goals for each.
const SCALES: [Scale; 3] = [
    Scale {
        locks: 10,
        who: "`holdlock who PATH` over lslocks, 10 locks, warm",
        list: "`holdlock list` over lslocks, 10 locks, warm",
    },
    Scale {
        locks: 1000,
        who: "`holdlock who PATH` over lslocks, 1 000 locks, warm",
        list: "`holdlock list` over lslocks, 1 000 locks, warm",
    },
    Scale {
        locks: 10_000,
        who: "`holdlock who PATH` over lslocks, 10 000 locks, warm",
        list: "`holdlock list` over lslocks, 10 000 locks, warm",
    },
];

struct Scale {
    locks: usize,
    who: &'static str,
    list: &'static str,
}

/// A way to list holders.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// A process that does nothing.
    Floor,
    /// Reading the kernel's table alone.
    Kernel,
    Lslocks,
    Who,
    List,
    /// The library's call in this process.
    Call,
}

struct Subject {
    name: &'static str,
    kind: Kind,
    /// The program and its arguments. Empty for the library's call.
    words: Vec<PathBuf>,
}

/// Our command lines: the words after `holdlock`. PATH is the path of the lock file.
const OURS: [(&str, Kind, &[&str]); 2] = [
    ("holdlock who PATH", Kind::Who, &["who", "PATH"]),
    ("holdlock list", Kind::List, &["list"]),
];

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "inspect",
        "Who holds what, on a host with 500 processes more: medians in ms",
        &[
            Column::new("warm_ms", "warm ms", 2),
            Column::new("cold_ms", "cold ms", 2),
            Column::new("ratio_lslocks", "x lslocks warm", 3),
            Column::new("ratio_lslocks_cold", "x lslocks cold", 3),
        ],
    );
    let mut crowd = Crowd::start(&bench.dir, PROCESSES)?;
    let path = crowd.first_lock();
    let subjects = subjects(bench, &path, &mut report);
    for scale in SCALES {
        crowd.hold(scale.locks)?;
        let rounds = bench.pick(15, 5);
        let warm = kernel_table::warm(|| take_turns(&subjects, &path, rounds, Duration::ZERO))?;
        let cold = take_turns(&subjects, &path, rounds, PAUSE)?;
        fill(&mut report, &scale, &subjects, &warm, &cold);
    }
    report.note(
        "warm: the begin of /proc/locks was read just before, and another thread goes on to do so",
    );
    report.note(
        "cold: nobody has read it for 50 ms; the kernel then waits for a grace period of RCU, \
         whoever asks",
    );
    Ok(report)
}

fn subjects(bench: &Bench, path: &Path, report: &mut Report) -> Vec<Subject> {
    let subject = |name, kind, words: Vec<PathBuf>| Subject { name, kind, words };
    let mut list = vec![
        subject("/bin/true", Kind::Floor, vec!["/bin/true".into()]),
        subject(
            "cat /proc/locks",
            Kind::Kernel,
            vec!["cat".into(), "/proc/locks".into()],
        ),
    ];
    match program("lslocks") {
        Some(lslocks) => list.push(subject("lslocks", Kind::Lslocks, vec![lslocks])),
        None => report.note("skipped: lslocks, there is none in PATH (package util-linux)"),
    }
    let holdlock = bench.holdlock.clone().or_else(built_command);
    if holdlock.is_none() {
        report.note("skipped: holdlock, none was built; name one with --holdlock");
    }
    for (name, kind, words) in OURS {
        let Some(holdlock) = &holdlock else {
            continue;
        };
        if !knows(holdlock, words[0]) {
            report.note(format!("skipped: {name}, this holdlock does not know it"));
            continue;
        }
        let word = |word: &&str| match *word {
            "PATH" => path.to_owned(),
            other => other.into(),
        };
        let words = words.iter().map(word);
        let all = std::iter::once(holdlock.clone()).chain(words);
        list.push(subject(name, kind, all.collect()));
    }
    list.push(subject(
        "inspect::file(PATH), in-process",
        Kind::Call,
        vec![],
    ));
    list
}

fn knows(holdlock: &Path, subcommand: &str) -> bool {
    let mut help = fresh(holdlock);
    help.args([subcommand, "--help"]);
    let quiet = help.stdin(Stdio::null()).stdout(Stdio::null());
    let status = quiet.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Milliseconds of each. The first round is not measured.
fn take_turns(
    subjects: &[Subject],
    path: &Path,
    rounds: u32,
    pause: Duration,
) -> Outcome<Vec<Samples>> {
    let mut samples = vec![Samples::default(); subjects.len()];
    for round in 0..=rounds {
        for (subject, samples) in subjects.iter().zip(&mut samples) {
            std::thread::sleep(pause);
            if pause.is_zero() {
                kernel_table::peek();
            }
            let time = subject
                .time(path)
                .map_err(|error| format!("{}: {error}", subject.name))?;
            if round > 0 {
                samples.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(samples)
}

impl Subject {
    fn time(&self, path: &Path) -> Outcome<Duration> {
        let Some((program, words)) = self.words.split_first() else {
            let start = Instant::now();
            let snapshot = holdlock::inspect::file(path)?;
            let time = start.elapsed();
            if snapshot.files.len() != 1 || snapshot.files[0].holders().len() != 1 {
                return Err("does not see the holder".into());
            }
            return Ok(time);
        };
        let mut command: Command = fresh(program);
        command.args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let start = Instant::now();
        let status = command.status()?;
        let time = start.elapsed();
        if !status.success() {
            return Err(status.to_string().into());
        }
        Ok(time)
    }
}

fn fill(
    report: &mut Report,
    scale: &Scale,
    subjects: &[Subject],
    warm: &[Samples],
    cold: &[Samples],
) {
    let place = |kind| subjects.iter().position(|subject| subject.kind == kind);
    let median = |samples: &[Samples], kind| place(kind).map(|at| samples[at].median());
    let of_lslocks = |samples| median(samples, Kind::Lslocks).unwrap_or(f64::NAN);
    for ((subject, warm_ms), cold_ms) in subjects.iter().zip(warm).zip(cold) {
        let (warm_ms, cold_ms) = (warm_ms.median(), cold_ms.median());
        report.row(
            format!("{:>5} locks: {}", scale.locks, subject.name),
            vec![
                warm_ms,
                cold_ms,
                warm_ms / of_lslocks(warm),
                cold_ms / of_lslocks(cold),
            ],
        );
    }
    if let Some(lslocks) = median(warm, Kind::Lslocks) {
        for (kind, what, limit) in [(Kind::Who, scale.who, 0.1), (Kind::List, scale.list, 1.0)] {
            if let Some(ours) = median(warm, kind) {
                report.goal(what, Bound::AtMost(limit), ours / lslocks, "x");
            }
        }
    }
    if scale.locks == 10 {
        report.goal(
            "`inspect::file(path)` with 10 locks, warm",
            Bound::AtMost(0.2),
            median(warm, Kind::Call).unwrap_or(f64::NAN),
            "ms",
        );
    }
}
