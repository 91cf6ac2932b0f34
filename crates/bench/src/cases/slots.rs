//! Semaphores: `run --slots` beside GNU `sem`, and the library's beside those of Python's modules.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdlock::{Error, Semaphore};

use super::cli::subjects::{built_command, program, says};
use crate::report::{Bound, Column, Report};
use crate::stats::Samples;
use crate::{Bench, Outcome};

const SLOTS: u32 = 4;

/// Times acquiring and releasing a free slot; prints nanoseconds, or why it cannot.
const PYTHON: &str = "
import sys, time
kind, rounds = sys.argv[1], int(sys.argv[2])
try:
    if kind == 'multiprocessing':
        import multiprocessing
        semaphore = multiprocessing.Semaphore(4)
    else:
        import posix_ipc
        semaphore = posix_ipc.Semaphore(None, posix_ipc.O_CREX, initial_value=4)
        semaphore.unlink()
except ImportError as error:
    sys.exit(str(error))
def batch():
    begin = time.perf_counter_ns()
    for _ in range(250):
        semaphore.acquire()
        semaphore.release()
    return (time.perf_counter_ns() - begin) / 250
samples = sorted(batch() for _ in range(rounds))
print(samples[len(samples) // 2])
";

pub(crate) fn run(bench: &Bench) -> Outcome<Report> {
    let mut report = Report::new(
        "slots",
        "Four slots: a free one acquired and released; one released until a sleeping waiter has it",
        &[
            Column::new("free_us", "free µs", 2),
            Column::new("handoff_us", "hand-off µs", 1),
        ],
    );
    library(bench, &mut report)?;
    python(bench, &mut report);
    let ours = match bench.holdlock.clone().or_else(built_command) {
        Some(holdlock) => {
            let lock = bench.dir.join("run-slots.lock");
            let slots = SLOTS.to_string();
            let words = [
                "run".as_ref(),
                "--slots".as_ref(),
                slots.as_ref(),
                lock.as_os_str(),
                "--".as_ref(),
            ];
            Some(command(bench, &mut report, &holdlock, &words)?)
        }
        None => {
            report.note("skipped: holdlock, none was built; name one with --holdlock");
            None
        }
    };
    // Others have a program of this name, too.
    let theirs = match program("sem").filter(|sem| says(sem, "GNU parallel")) {
        Some(sem) => {
            let slots = SLOTS.to_string();
            let words = ["-j".as_ref(), slots.as_ref(), "--id".as_ref()];
            let words = words
                .into_iter()
                .chain(["holdlock-bench", "--fg"].map(OsStr::new));
            Some(command(
                bench,
                &mut report,
                &sem,
                &words.collect::<Vec<_>>(),
            )?)
        }
        None => {
            report.note("skipped: GNU sem, there is none in PATH (package parallel)");
            None
        }
    };
    if let (Some(ours), Some(theirs)) = (ours, theirs) {
        let goal = "GNU sem over `holdlock run --slots`, a free slot";
        report.goal(goal, Bound::AtLeast(100.0), theirs / ours, "x");
    }
    Ok(report)
}

/// The library's semaphore.
fn library(bench: &Bench, report: &mut Report) -> Outcome<()> {
    let semaphore = Semaphore::open(bench.dir.join("slots.lock"), SLOTS)?;
    let mut free = Samples::default();
    for _ in 0..bench.pick(500, 50) {
        let begin = Instant::now();
        for _ in 0..100 {
            semaphore.lock()?.release()?;
        }
        free.push(begin.elapsed().as_secs_f64() * 1e4);
    }
    let mut handoff = Samples::default();
    let mut held = (0..SLOTS)
        .map(|_| semaphore.lock_owned())
        .collect::<Result<Vec<_>, Error>>()?;
    for _ in 0..bench.pick(200, 20) {
        let waiter = semaphore.clone();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let guard = waiter.lock_owned();
            let _ = tell.send((Instant::now(), guard));
        });
        while semaphore.waiters()?.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        // After the threads that wait for the slots have gone to sleep.
        std::thread::sleep(Duration::from_millis(5));
        let released = Instant::now();
        held.remove(0).release()?;
        let (acquired, guard) = told.recv()?;
        handoff.push(acquired.duration_since(released).as_secs_f64() * 1e6);
        held.push(guard?);
        thread.join().map_err(|_| "the waiter panicked")?;
    }
    report.row("holdlock::Semaphore", vec![free.median(), handoff.median()]);
    Ok(())
}

/// The semaphores in memory of Python's modules. They are lost when a holder is killed, and have
/// neither an order nor numbers.
fn python(bench: &Bench, report: &mut Report) {
    let rounds = bench.pick(500, 50).to_string();
    for kind in ["multiprocessing", "posix_ipc"] {
        let name = format!("Python's {kind}.Semaphore");
        let ran = Command::new("python3")
            .args(["-c", PYTHON, kind, &rounds])
            .stdin(Stdio::null())
            .output();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match ran {
            Ok(output) if output.status.success() => {
                let nanoseconds = said(&output.stdout).parse().unwrap_or(f64::NAN);
                report.row(name, vec![nanoseconds / 1000.0, f64::NAN]);
            }
            Ok(output) => report.note(format!("skipped: {name}, {}", said(&output.stderr))),
            Err(error) => report.note(format!("skipped: {name}, python3: {error}")),
        }
    }
}

/// A command around /bin/true. Returns the median in microseconds.
fn command(bench: &Bench, report: &mut Report, program: &Path, words: &[&OsStr]) -> Outcome<f64> {
    let mut samples = Samples::default();
    for round in 0..=bench.pick(200, 20) {
        let mut command = Command::new(program);
        command.args(words).arg("/bin/true");
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let begin = Instant::now();
        let status = command.status()?;
        let took = begin.elapsed();
        if !status.success() {
            return Err(format!("{}: {status}", program.display()).into());
        }
        // Once before the first round, so that everything is in memory.
        if round > 0 {
            samples.push(took.as_secs_f64() * 1e6);
        }
    }
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let median = samples.median();
    report.row(format!("{name} around /bin/true"), vec![median, f64::NAN]);
    Ok(median)
}
