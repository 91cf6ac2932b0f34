//! Exclusion under load: many processes with many threads. Some are killed, some remove the lock
//! file.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdlock::{Error, FileLock, LockOptions, Request};

use crate::witness::Witness;

/// What happens to the lock file during the trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// Nothing.
    Never,
    /// Every holder deletes it on release.
    OnRelease,
    /// Holders remove, rename away or replace it as their last act.
    Adversary,
}

impl Removal {
    const ALL: [(Removal, &str); 3] = [
        (Removal::Never, "never"),
        (Removal::OnRelease, "on-release"),
        (Removal::Adversary, "adversary"),
    ];

    fn name(self) -> &'static str {
        Removal::ALL
            .iter()
            .find(|(removal, _)| *removal == self)
            .map_or("?", |(_, name)| name)
    }

    /// The value with this name.
    pub fn from_name(name: &str) -> Option<Removal> {
        Removal::ALL
            .iter()
            .find(|(_, other)| *other == name)
            .map(|(removal, _)| *removal)
    }
}

/// A trial.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The path of the bin `torture`, which is a worker if its first argument is `worker`.
    pub program: PathBuf,
    /// The directory of the lock file and the witness.
    pub directory: PathBuf,
    /// Worker processes.
    pub processes: u32,
    /// Threads of each.
    pub threads: u32,
    /// The trial ends after this many sections,
    pub acquisitions: u64,
    /// or after this time.
    pub at_most: Duration,
    /// What happens to the lock file.
    pub removal: Removal,
    /// Workers are killed (and replaced) at random.
    pub kill: bool,
    /// Some sections are shared. Not together with `kill`.
    pub shared: bool,
    /// All requests are fair.
    pub fair: bool,
}

/// The result of a trial.
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// The number of sections.
    pub acquisitions: u64,
    /// The number of sections that were not alone.
    pub overlaps: u64,
    /// Workers that were killed.
    pub killed: u64,
    /// Requests that ended with an error other than a conflict.
    pub errors: u64,
    /// How long it took.
    pub took: Duration,
}

impl Trial {
    /// Runs the trial. Panics if the workers make no progress.
    pub fn run(&self) -> Verdict {
        let started = Instant::now();
        let witness = Witness::open(&self.directory.join("witness"));
        let mut workers: Vec<Child> = (0..self.processes).map(|_| self.start()).collect();
        let mut killed = 0;
        let mut seen = (0, Instant::now());
        while witness.acquisitions() < self.acquisitions && started.elapsed() < self.at_most {
            std::thread::sleep(Duration::from_millis(fastrand::u64(1..=4)));
            let now = witness.acquisitions();
            let progress = now > seen.0;
            if progress {
                seen = (now, Instant::now());
            }
            // On a busy machine a worker may need a while until it makes any progress.
            if self.kill && progress {
                let victim = fastrand::usize(..workers.len());
                end(&mut workers[victim]);
                workers[victim] = self.start();
                killed += 1;
            }
            assert!(
                seen.1.elapsed() < Duration::from_secs(60),
                "no progress after {now} sections"
            );
        }
        // Before the workers are killed: the witness would count a killed sharer for ever.
        let verdict = Verdict {
            acquisitions: witness.acquisitions(),
            overlaps: witness.overlaps(),
            killed,
            errors: witness.noted(),
            took: started.elapsed(),
        };
        workers.iter_mut().for_each(end);
        verdict
    }

    fn start(&self) -> Child {
        Command::new(&self.program)
            .args(["worker", self.removal.name()])
            .arg(if self.shared { "shared" } else { "exclusive" })
            .arg(if self.fair { "fair" } else { "plain" })
            .arg(self.threads.to_string())
            .arg(&self.directory)
            .stdin(Stdio::null())
            .spawn()
            .expect("a worker")
    }
}

fn end(worker: &mut Child) {
    let _ = worker.kill();
    let _ = worker.wait();
}

/// A worker, which runs until it is killed. Half of its threads share one lock object, the others
/// have one each.
pub fn work(removal: Removal, shared: bool, fair: bool, threads: u32, directory: &Path) {
    crate::sys::die_with_parent();
    let witness = Witness::open(&directory.join("witness"));
    let path = directory.join("lock");
    let open = || {
        LockOptions::new()
            .delete_on_release(removal == Removal::OnRelease)
            .fair(fair)
            .open(&path)
    };
    let common = loop {
        // Others create and remove the file, so opening it may take several attempts.
        match open() {
            Ok(lock) => break lock,
            Err(_) => witness.note(),
        }
    };
    std::thread::scope(|scope| {
        for number in 0..threads {
            let (common, open, path) = (common.clone(), &open, &path);
            scope.spawn(move || {
                let own;
                let lock: &FileLock = if number % 2 == 0 {
                    &common
                } else {
                    own = open().expect("the lock file opens");
                    &own
                };
                loop {
                    section(lock, witness, removal, shared, path);
                }
            });
        }
    });
}

/// An earlier refusal only means that the request does not wait longer; it is not a false alarm.
const GRACE: Duration = Duration::from_millis(900);

fn section(lock: &FileLock, witness: Witness, removal: Removal, shared: bool, path: &Path) {
    let shared = shared && fastrand::bool();
    let request = if shared {
        Request::shared()
    } else {
        Request::exclusive()
    };
    let request = match fastrand::u32(..8) {
        0 => request.try_once(),
        1 => request.timeout(Duration::from_micros(fastrand::u64(1..2000))),
        2 => request.timeout(Duration::from_secs(60)),
        _ => request,
    };
    let guard = match lock.acquire(request) {
        Ok(guard) => guard,
        // No holder removes the file and keeps the lock: a refusal would be a false alarm.
        Err(error) if error.is_conflict() && !matches!(error, Error::RemovedWhileHeld(_)) => return,
        // A try does not wait until a holder that has removed the file has released the lock.
        Err(Error::RemovedWhileHeld(conflict)) if conflict.waited() < GRACE => return,
        Err(error) => {
            eprintln!("{error}");
            return witness.note();
        }
    };
    if shared {
        witness.shared(linger);
    } else {
        witness.exclusively(linger);
        if removal == Removal::Adversary {
            meddle(path);
        }
    }
    if let Err(error) = guard.release() {
        eprintln!("{error}");
        witness.note();
    }
}

/// Stays inside, mostly for an instant.
fn linger() {
    match fastrand::u32(..32) {
        0 => std::thread::yield_now(),
        1..4 => (0..fastrand::u32(..400)).for_each(|_| std::hint::spin_loop()),
        _ => {}
    }
}

/// The last act of a hostile holder.
fn meddle(path: &Path) {
    let other = || {
        let name = format!("other-{}-{}", std::process::id(), fastrand::u32(..));
        path.with_file_name(name)
    };
    match fastrand::u32(..8) {
        0 => drop(std::fs::remove_file(path)),
        1 => {
            let aside = other();
            let _ = std::fs::rename(path, &aside);
            let _ = std::fs::remove_file(aside);
        }
        2 => {
            let fresh = other();
            if std::fs::write(&fresh, b"").is_ok() {
                let _ = std::fs::rename(fresh, path);
            }
        }
        _ => {}
    }
}
