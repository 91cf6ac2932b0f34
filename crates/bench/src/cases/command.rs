//! The commands: `holdlock run` against util-linux flock, whole processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::{Bench, Outcome};

const NOTHING: &str = "/bin/true";

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "command",
        "Whole process, from start to end, around /bin/true",
        &[
            Column::new("median_us", "median µs", 0),
            Column::new("p99_us", "p99 µs", 0),
            Column::new("over_true_us", "over /bin/true µs", 0),
            Column::new("ratio_flock", "x flock", 2),
        ],
    );
    let Some(holdlock) = bench.holdlock.clone().or_else(built_command) else {
        report.note("skipped: no command `holdlock` was built; name one with --holdlock");
        return Ok(report);
    };
    let Some(flock) = in_path("flock") else {
        report.note("skipped: there is no flock in PATH");
        return Ok(report);
    };
    let path = bench.dir.join("command.lock");
    let mut commands = [
        ("/bin/true alone", Command::new(NOTHING)),
        ("flock L /bin/true", Command::new(flock)),
        ("holdlock run L -- /bin/true", Command::new(&holdlock)),
    ];
    commands[1].1.arg(&path).arg(NOTHING);
    commands[2].1.arg("run").arg(&path).args(["--", NOTHING]);
    let mut samples = vec![Samples::default(); commands.len()];
    let rounds = bench.pick(1000, 150);
    for round in 0..=rounds {
        for ((name, command), samples) in commands.iter_mut().zip(&mut samples) {
            let micros = once(command).map_err(|error| format!("{name}: {error}"))?;
            // Once before the first round, to have everything in memory.
            if round > 0 {
                samples.push(micros);
            }
        }
    }
    let (floor, peer) = (samples[0].median(), samples[1].median());
    for ((name, _), samples) in commands.iter().zip(&samples) {
        let median = samples.median();
        report.row(
            *name,
            vec![median, samples.p99(), median - floor, median / peer],
        );
    }
    if let Some(profile) = profile(&holdlock) {
        report.note(format!("holdlock: the build in {profile}"));
    }
    report.goal(
        "`holdlock run L -- /bin/true` over util-linux flock",
        Bound::AtMost(1.0),
        samples[2].median() / peer,
        "x",
    );
    Ok(report)
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

/// `target/dist/holdlock`, or the one beside this program.
fn built_command() -> Option<PathBuf> {
    let here = std::env::current_exe().ok()?;
    let beside = here.parent()?;
    let dist = beside.parent()?.join("dist/holdlock");
    let other = beside.join("holdlock");
    [dist, other].into_iter().find(|path| path.is_file())
}

/// The name of the directory a build is in tells its profile.
fn profile(path: &Path) -> Option<String> {
    let dir = path.parent()?.file_name()?;
    Some(dir.to_string_lossy().into_owned())
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&path).map(|dir| dir.join(name));
    candidates.find(|candidate| candidate.is_file())
}
