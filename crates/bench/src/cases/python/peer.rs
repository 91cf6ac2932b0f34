//! One way of locking in Python, and its processes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::worker::Worker;

const PROGRAM: &str = include_str!("worker.py");
const MANY: &str = include_str!("many.py");

/// The peers that the goals compare.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// flock(2) of Python's standard library.
    Raw,
    Holdlock,
    /// The newest release.
    Filelock,
    Other,
}

/// A package, by the directory in which it is installed.
pub(super) struct Package {
    pub(super) kind: Kind,
    pub(super) directory: &'static str,
    /// The name by which it is imported.
    pub(super) module: &'static str,
}

pub(super) const PACKAGES: [Package; 6] = [
    package(Kind::Raw, "fcntl", "fcntl"),
    package(Kind::Holdlock, "holdlock", "holdlock"),
    package(Kind::Filelock, "filelock", "filelock"),
    package(Kind::Other, "filelock-3.20.3", "filelock"),
    package(Kind::Other, "portalocker", "portalocker"),
    package(Kind::Other, "fasteners", "fasteners"),
];

const fn package(kind: Kind, directory: &'static str, module: &'static str) -> Package {
    Package {
        kind,
        directory,
        module,
    }
}

impl Package {
    /// Whether its waiters sleep in the kernel's queue.
    pub(super) fn queues(&self) -> bool {
        matches!(self.kind, Kind::Raw | Kind::Holdlock)
    }

    /// Starts a process that has imported the package and opened a lock on that path.
    pub(super) fn start(&self, packages: &Path, lock: &Path) -> Outcome<Worker> {
        let mut command = self.python(packages);
        command.args(["-c", PROGRAM, self.module]).arg(lock);
        Worker::spawn(&mut command)
    }

    /// Nanoseconds that the import takes in a new process.
    pub(super) fn import(&self, packages: &Path) -> Outcome<u64> {
        let name = match self.kind {
            Kind::Holdlock | Kind::Filelock => "FileLock",
            _ if self.module == "filelock" => "FileLock",
            _ => "*",
        };
        let program = format!(
            "from time import perf_counter_ns as now\nstart = now()\n\
             from {} import {name}\nprint(now() - start)",
            self.module
        );
        let output = self.python(packages).args(["-c", &program]).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
    }

    /// The numbers of the case `python-many`.
    pub(super) fn many(&self, packages: &Path, place: &Path) -> Outcome<Vec<f64>> {
        let mut command = self.python(packages);
        command.args(["-c", MANY, self.module]).arg(place);
        let output = command.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into());
        }
        let numbers = String::from_utf8_lossy(&output.stdout);
        let numbers = numbers.split_whitespace().map(str::parse);
        Ok(numbers.collect::<Result<Vec<f64>, _>>()?)
    }

    fn python(&self, packages: &Path) -> Command {
        let place: PathBuf = packages.join(self.directory);
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", place).stdin(Stdio::null());
        for name in ["PYTHONDONTWRITEBYTECODE", "PYTHONSTARTUP", "PYTHONHOME"] {
            command.env_remove(name);
        }
        command
    }
}
