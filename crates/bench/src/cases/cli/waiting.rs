//! A waiting command: its memory, and the time until its command starts.

use std::fs::{File, read_to_string};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::fs::{FlockOperation, fcntl_lock, flock};

use super::subjects::Subject;
use crate::peers::Peer;
use crate::worker::{Job, Worker};
use crate::{Bench, Outcome, asleep, sys};

pub(crate) const JOB: &str = "hold-and-release";

/// Another process that holds the lock of the subject that it is told. It is another process
/// because a command may check whether its ancestors hold the lock.
pub(super) fn holder(bench: &Bench) -> Outcome<Worker> {
    Worker::start(JOB, Peer::Raw, &bench.dir, &[])
}

/// The process of the holder. It reads the path of a lock file, then the order to release the lock,
/// and answers the time of the release.
pub(crate) fn job(job: &Job) -> Outcome<()> {
    while let Some(lock) = job.hear()? {
        let held = open(Path::new(&lock))?;
        // Both kinds of locks: some of the commands use fcntl(2).
        flock(&held, FlockOperation::LockExclusive)?;
        fcntl_lock(&held, FlockOperation::LockExclusive)?;
        job.tell("held")?;
        job.hear()?;
        let released = sys::monotonic();
        fcntl_lock(&held, FlockOperation::Unlock)?;
        flock(&held, FlockOperation::Unlock)?;
        job.tell(released)?;
    }
    Ok(())
}

fn open(lock: &Path) -> std::io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    options.open(lock)
}

/// The measurements of one wait.
pub(super) struct Waited {
    /// From the release until the first byte of the command.
    pub(super) handoff_us: f64,
    /// Resident and proportional set size in kB, if asked for.
    pub(super) memory: Option<[f64; 2]>,
}

/// A process that is killed if a measurement fails half-way.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Lets it wait for a lock that the holder has, and then have it.
pub(super) fn wait(holder: &mut Worker, subject: &Subject, look: bool) -> Outcome<Waited> {
    holder.tell(
        subject
            .lock
            .to_str()
            .ok_or("the directory's name is not text")?,
    )?;
    holder.expect("held")?;
    let mut command = subject.around(["/bin/echo", "!"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Killed(command.spawn()?);
    asleep::wait_for_one(child.0.id());
    if let Some(status) = child.0.try_wait()? {
        return Err(format!("did not wait: {status}").into());
    }
    let memory = look.then(|| memory(child.0.id())).transpose()?;
    let mut from = child.0.stdout.take().ok_or("no pipe")?;
    let mut first = [0];
    holder.tell("release")?;
    from.read_exact(&mut first)?;
    let started = sys::monotonic();
    let released: u64 = holder.hear()?.parse()?;
    let status = child.0.wait()?;
    if !status.success() {
        return Err(status.to_string().into());
    }
    Ok(Waited {
        handoff_us: started.saturating_sub(released) as f64 / 1e3,
        memory,
    })
}

fn memory(pid: u32) -> Outcome<[f64; 2]> {
    let text = read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    match (field("Rss:"), field("Pss:")) {
        (Some(rss), Some(pss)) => Ok([rss, pss]),
        _ => Err("smaps_rollup without Rss and Pss".into()),
    }
}
