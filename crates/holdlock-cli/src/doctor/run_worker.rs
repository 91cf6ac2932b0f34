//! Starts the worker, passes on its findings, and continues without it if it does not answer.
//!
//! A worker that hangs in the kernel may survive SIGKILL. The doctor then leaves it behind: the
//! worker has no file of ours or of our caller open, except the other end of the pipe.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::finding::Finding;
use super::worker::{CREATING, SWEEP, WORKER};
use super::{file_system, mounts, myself, temporary};
use crate::descendants;
use crate::exit::{self, Failure};
use crate::show::{proc_failure, time};
use crate::sys::descriptors;

/// How long to look for files that a killed worker has left, if the machine is not busy.
const SWEEPING: Duration = Duration::from_secs(1);

/// How long a worker may take to end.
const GRACE: Duration = Duration::from_millis(100);

/// The place to be examined.
pub(super) struct Patient {
    /// Absolute.
    pub(super) path: PathBuf,
    /// The path is a name's, in the lock directory, which `holdlock run` would create.
    pub(super) is_name: bool,
}

/// The lines that a worker writes.
enum Word {
    /// The next thing that it looks at.
    Step(String),
    Finding(Finding),
    /// The last line.
    Done,
}

fn parse(line: &str) -> Option<Word> {
    let value: Value = serde_json::from_str(line).ok()?;
    if let Some(step) = value["step"].as_str() {
        return Some(Word::Step(step.to_owned()));
    }
    if value["done"] == true {
        return Some(Word::Done);
    }
    Finding::from_json(&value["finding"]).map(Word::Finding)
}

/// Lets a worker look at everything, and passes on its findings.
pub(super) fn examine(
    patient: &Patient,
    timeout: Duration,
    mut hand_on: impl FnMut(Finding) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // Otherwise a worker that hangs would keep the files of our caller open, perhaps a lock.
    descriptors::keep_from_children();
    let name = temporary::fresh_name();
    let mut worker = Worker::start(patient, &[&name])?;
    let mut step = "starting".to_owned();
    let (mut tried, mut mount_known) = (false, false);
    loop {
        match worker.words.recv_timeout(timeout) {
            Ok(Word::Step(next)) => {
                tried |= next == CREATING;
                step = next;
            }
            Ok(Word::Finding(finding)) => {
                mount_known |= [file_system::ID, file_system::READ_ONLY].contains(&&*finding.id);
                if let Err(failure) = hand_on(finding) {
                    if !worker.end() {
                        sweep(patient, &name, timeout);
                    }
                    return Err(failure);
                }
            }
            Ok(Word::Done) => return Ok(()),
            Err(RecvTimeoutError::Timeout) if worker.is_at_work() => {}
            Err(RecvTimeoutError::Timeout) => {
                worker.end();
                if !mount_known {
                    let findings = file_system::look_by_name(&patient.path);
                    findings.into_iter().try_for_each(&mut hand_on)?;
                }
                let swept = !tried || sweep(patient, &name, timeout);
                let left = (!swept).then_some(name.as_str());
                return hand_on(unresponsive(patient, timeout, &step, left));
            }
            Err(RecvTimeoutError::Disconnected) => {
                worker.end();
                let mut message =
                    format!("the worker of the examination ended early, while {step}");
                if !sweep(patient, &name, timeout) {
                    message += &format!("; remove the file {name} if it is left");
                }
                return Err(Failure::new(exit::OS_ERROR, message));
            }
        }
    }
}

/// Removes the files that a killed worker has left. True if certainly no file is left.
fn sweep(patient: &Patient, name: &str, timeout: Duration) -> bool {
    let Ok(mut sweeper) = Worker::start(patient, &[name, SWEEP]) else {
        return false;
    };
    let deadline = Instant::now() + timeout;
    loop {
        match sweeper.words.recv_timeout(timeout.min(SWEEPING)) {
            Err(RecvTimeoutError::Timeout) if sweeper.is_at_work() && Instant::now() < deadline => {
            }
            word => return matches!(word, Ok(Word::Done)),
        }
    }
}

fn unresponsive(patient: &Patient, timeout: Duration, step: &str, left: Option<&str>) -> Finding {
    let mount = mounts::read().ok().and_then(|mounts| {
        let mount = mounts::by_name(&mounts, &patient.path)?;
        let (kind, source) = (&mount.kind, mount.source.display());
        Some(format!(
            "the {kind} file system {source} at {}",
            mount.point.display()
        ))
    });
    let found = format!(
        "{} did not answer for {}, while {step}",
        mount.as_deref().unwrap_or("the file system"),
        time::rounded(timeout)
    );
    let mut remedy = "repair its server or device and try again; if it is only slow, give it more \
                      time by --timeout"
        .to_owned();
    if let Some(name) = left {
        remedy += &format!("; remove the file {name} if it is left");
    }
    Finding::not_safe("unresponsive", found).remedy(remedy)
}

/// A worker and its findings. Nothing waits for its end, which may never come.
struct Worker {
    child: Child,
    words: Receiver<Word>,
    /// Clock ticks of processor time that it and its partners had used at the last look.
    used: u64,
}

impl Worker {
    fn start(patient: &Patient, words: &[&str]) -> Result<Worker, Failure> {
        let mut command = worker_command(patient);
        let mut child = command
            .args(words)
            .spawn()
            .map_err(|error| proc_failure("cannot start the examination", error))?;
        let (send, words) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let lines = BufReader::new(stdout).lines();
                for word in lines.map_while(|line| parse(&line.ok()?)) {
                    if send.send(word).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Worker {
            child,
            words,
            used: 0,
        })
    }

    /// Whether the worker is silent because the machine is busy: it or one of its partners runs, is
    /// ready to run, or has run since the last look. Where the file system does not answer, all of
    /// them sleep.
    fn is_at_work(&mut self) -> bool {
        let worker = Pid::from_child(&self.child);
        let partners = descendants::of(worker, &[]).unwrap_or_default();
        let (mut runs, mut used) = (false, 0);
        for pid in partners.into_iter().chain([worker]) {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name may contain anything, and ends with the last parenthesis.
            let fields = stat.rsplit(") ").next().unwrap_or_default();
            runs |= fields.starts_with("R ");
            let ticks = fields.split(' ').skip(11).take(2);
            used += ticks
                .filter_map(|field| field.parse::<u64>().ok())
                .sum::<u64>();
        }
        // The time of a partner is gone when that one has ended.
        let worked = used != self.used;
        self.used = used;
        worked || runs
    }

    /// Gives the worker time to clean up and end, then kills it and its partners. Does not wait for
    /// a worker that survives. Whether it has ended by itself.
    fn end(&mut self) -> bool {
        drop(self.child.stdin.take());
        if self.ends_soon() {
            return true;
        }
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.ends_soon();
        false
    }

    fn ends_soon(&mut self) -> bool {
        let deadline = Instant::now() + GRACE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                return false;
            }
            thread::sleep(Duration::from_millis(1));
        }
        true
    }
}

impl Drop for Worker {
    /// The worker cleans up first, also if we give up because our output has no reader.
    fn drop(&mut self) {
        self.end();
    }
}

fn worker_command(patient: &Patient) -> Command {
    let mut command = myself();
    command
        .arg(WORKER)
        .arg(&patient.path)
        .arg(if patient.is_name { "name" } else { "path" })
        // The end of this pipe tells the worker that we have ended.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A reader of our standard error must not wait for a worker that hangs.
        .stderr(Stdio::null())
        // Killed together with its partners; Ctrl-C leaves it time to clean up.
        .process_group(0);
    command
}
