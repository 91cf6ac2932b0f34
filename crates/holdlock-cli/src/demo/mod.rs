//! `holdlock demo`: the same work by several processes, without the lock and with it.
//!
//! This process starts the workers (this program again), waits for them, and judges what they
//! wrote to the journal. All demos on one lock share the journal, so the verdict of each covers all
//! of them.

mod journal;
mod json;
mod scale;
mod svg;
mod timeline;
mod verdict;
pub(crate) mod worker;

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use holdlock::FileLock;

use crate::exit::{self, Failure, Outcome};
use crate::lockdir;
use crate::show::output::print;
use crate::show::svg::Target;
use crate::show::text::count;
use verdict::Half;
pub(crate) use worker::WORKER;

/// What the command line asks for.
pub(crate) struct Settings {
    pub(crate) workers: u32,
    pub(crate) rounds: u32,
    pub(crate) max_sleep: Duration,
    /// The halves in their order: with the lock or without.
    pub(crate) halves: Vec<bool>,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) json: bool,
    pub(crate) lock: OsString,
}

impl Settings {
    /// Whether standard output gets text, and not a document or a picture.
    fn is_told(&self) -> bool {
        !self.json && self.svg.as_deref() != Some(Path::new("-"))
    }
}

/// Runs the halves and prints their verdicts.
pub(crate) fn demo(settings: Settings) -> Outcome {
    let location = lockdir::locate(&settings.lock)?;
    location.prepare()?;
    let picture = match &settings.svg {
        Some(path) => Some(Target::create(path)?),
        None => None,
    };
    // The journal's name comes from the lock file, so the lock file must exist.
    drop(FileLock::open(&location.path)?);
    let journal = journal_path(&location.path)?;
    let lease = FileLock::open(&journal)?;
    journal::clear_if_unused(&lease)?;
    let using = lease.lock_shared()?;

    let mut halves = Vec::new();
    for &locked in &settings.halves {
        let half = play(&settings, &location.path, &journal, locked)?;
        if settings.is_told() {
            print(&verdict_text(&half))?;
        }
        halves.push(half);
    }
    using.release()?;
    journal::remove_if_unused(&lease)?;

    if settings.json {
        print(&json::document(&settings, &location.path, &halves))?;
    }
    if let Some(target) = picture {
        target.write(&svg::picture(&halves))?;
    }
    Ok(if halves.iter().all(Half::is_ok) {
        exit::SUCCESS
    } else {
        exit::OVERLAP
    })
}

/// A lock file has one journal, whatever its names, and no other lock file has the same one. The
/// directory is this user's alone, and so are the demos that share it.
fn journal_path(lock: &Path) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::MetadataExt;
    let directory = lockdir::directory()?;
    lockdir::prepare(&directory)?;
    let found = fs::metadata(lock)
        .map_err(|error| Failure::system("cannot look at the lock file", error))?;
    Ok(directory.join(format!("demo-{:x}-{:x}.journal", found.dev(), found.ino())))
}

/// Runs one half and judges it.
fn play(settings: &Settings, lock: &Path, journal: &Path, locked: bool) -> Result<Half, Failure> {
    if settings.is_told() {
        print(&introduction(settings, locked))?;
    }
    let begin = journal::now();
    let mut team = Team::start(settings, lock, journal, locked)?;
    team.go();
    team.finish()?;
    // The end is taken before the journal is read: a section that is open in the journal was open
    // at that time.
    let end = journal::now();
    let events = journal::read(journal)
        .map_err(|error| Failure::system("cannot read the journal of the demo", error))?;
    Ok(verdict::judge(
        &events,
        std::process::id(),
        locked,
        begin..end,
        journal::is_alive,
    ))
}

/// The workers of one half. The standard input of each is a pipe from this process: a byte starts
/// the worker, and the end of the pipe stops it, at the latest when this process dies.
struct Team {
    workers: Vec<(Child, ChildStdin)>,
}

impl Team {
    fn start(
        settings: &Settings,
        lock: &Path,
        journal: &Path,
        locked: bool,
    ) -> Result<Team, Failure> {
        let failed = |error| Failure::system("cannot start a worker", error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut team = Team {
            workers: Vec::new(),
        };
        for number in 1..=settings.workers {
            let orders = worker::Orders {
                run: std::process::id(),
                number,
                rounds: settings.rounds,
                max_sleep: settings.max_sleep,
                locked,
                lock: lock.into(),
                journal: journal.into(),
            };
            let mut child = Command::new(&program)
                .arg(WORKER)
                .args(orders.words())
                .stdin(Stdio::piped())
                .stdout(if settings.is_told() {
                    Stdio::inherit()
                } else {
                    Stdio::null()
                })
                .spawn()
                .map_err(failed)?;
            let stdin = child.stdin.take().expect("is piped");
            team.workers.push((child, stdin));
        }
        Ok(team)
    }

    /// Starts all of them at (nearly) the same moment.
    fn go(&mut self) {
        for (_, stdin) in &mut self.workers {
            // The exit status shows that a worker has ended.
            let _ = stdin.write_all(b"!");
        }
    }

    fn finish(mut self) -> Result<(), Failure> {
        for index in 0..self.workers.len() {
            let (child, _) = &mut self.workers[index];
            let status = child
                .wait()
                .map_err(|error| Failure::system("cannot wait for a worker", error))?;
            if !status.success() {
                // The worker has said why on standard error.
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                let message = format!("worker {} failed: {status}", index + 1);
                return Err(Failure::new(code.unwrap_or(exit::OS_ERROR), message));
            }
        }
        self.workers.clear();
        Ok(())
    }
}

impl Drop for Team {
    /// After a failure half-way: ends the others and leaves no zombies.
    fn drop(&mut self) {
        for (mut child, stdin) in self.workers.drain(..) {
            drop(stdin);
            let _ = child.wait();
        }
    }
}

fn introduction(settings: &Settings, locked: bool) -> String {
    let Settings {
        workers, rounds, ..
    } = settings;
    let title = if locked {
        "With the lock"
    } else {
        "Without the lock"
    };
    format!(
        "{title}: {}, {} each. +[n]: worker n enters its critical section, -[n]: leaves it.\n",
        count(*workers as usize, "worker", "workers"),
        count(*rounds as usize, "round", "rounds"),
    )
}

fn verdict_text(half: &Half) -> String {
    let canvas = timeline::Canvas::of_terminal();
    let rows = timeline::draw(half, &canvas);
    format!("\n{}: {}\n\n{rows}\n", half.title(), half.sentence())
}
