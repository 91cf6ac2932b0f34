//! Many processes that hold a given number of locks.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Outcome;
use crate::peers::Peer;
use crate::worker::{Job, Worker};

pub(crate) const JOB: &str = "crowd";

/// Descriptors in addition to two pipes for each process, or a file for each lock.
const SOME_DESCRIPTORS: usize = 256;

/// The processes. They end when this is dropped.
pub(super) struct Crowd {
    workers: Vec<Worker>,
    dir: PathBuf,
}

impl Crowd {
    pub(super) fn start(dir: &Path, processes: usize) -> Outcome<Crowd> {
        allow_descriptors(2 * processes)?;
        let dir = dir.join("crowd");
        std::fs::create_dir(&dir)?;
        let start = |number: usize| {
            let files = dir.join(format!("{number}"));
            Worker::start(JOB, Peer::Raw, &files, &[])
        };
        let workers = (0..processes).map(start).collect::<Outcome<Vec<_>>>()?;
        Ok(Crowd { workers, dir })
    }

    /// A lock that is held whatever the number is.
    pub(super) fn first_lock(&self) -> PathBuf {
        lock_file(&self.dir.join("0"), 0)
    }

    /// Holds this many locks in all, spread evenly over the processes.
    pub(super) fn hold(&mut self, locks: usize) -> Outcome<()> {
        let processes = self.workers.len();
        let count = |number: usize| locks / processes + usize::from(number < locks % processes);
        for (number, worker) in self.workers.iter_mut().enumerate() {
            worker.tell(&count(number).to_string())?;
        }
        for worker in &mut self.workers {
            worker.expect("held")?;
        }
        Ok(())
    }
}

fn allow_descriptors(number: usize) -> Outcome<()> {
    let needed = (number + SOME_DESCRIPTORS) as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let raised = Rlimit {
            current: Some(needed),
            maximum: limit.maximum,
        };
        setrlimit(Resource::Nofile, raised)
            .map_err(|error| format!("{needed} descriptors are not allowed: {error}"))?;
    }
    Ok(())
}

fn lock_file(files: &Path, number: usize) -> PathBuf {
    files.with_extension(format!("{number}.lock"))
}

/// A process of the crowd. Each line that it reads is the number of locks to hold from now on.
pub(crate) fn job(job: &Job) -> Outcome<()> {
    let mut held: Vec<File> = Vec::new();
    while let Some(count) = job.hear()? {
        let count: usize = count.parse()?;
        allow_descriptors(count)?;
        held.truncate(count);
        while held.len() < count {
            let file = File::create(lock_file(&job.path, held.len()))?;
            flock(&file, FlockOperation::LockExclusive)?;
            held.push(file);
        }
        job.tell("held")?;
    }
    Ok(())
}
