//! The measurements.

mod cli;
mod crowd;
mod cycle;
mod deadline;
mod engines;
mod fair;
mod handoff;
mod identity;
mod inspect;
mod kernel_table;
mod missing;
mod processes;
mod python;
mod readers;
mod record;
mod sets;
mod slots;
mod threads;
mod try_lock;
mod waiters;

use std::path::Path;

use crate::peers::Peer;
use crate::report::Report;
use crate::worker::{Job, Worker};
use crate::{Bench, Outcome};

/// One measurement.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Bench) -> Outcome<Report>,
}

/// All cases, in the order of a full run.
pub(crate) const ALL: &[Case] = &[
    case("cycle", cycle::run),
    case("identity", identity::run),
    case("record", record::run),
    case("slots", slots::run),
    case("sets", sets::run),
    case("fair", fair::run),
    case("try", try_lock::run),
    case("handoff", handoff::run),
    case("threads", threads::run),
    case("processes", processes::run),
    case("waiters", waiters::run),
    case("deadline", deadline::run),
    case("cli", cli::run),
    case("python", python::run),
    case("python-many", python::many::run),
    case("readers", readers::run),
    // Near the end: reading /proc/locks slows other lock calls down for a while.
    case("inspect", inspect::run),
    case("missing", missing::run),
];

/// Cases that run only if they are named: they need servers.
pub(crate) const ON_DEMAND: &[Case] = &[case("engines", engines::run)];

/// The cases that the word `more` stands for: what there is beside one exclusive holder.
pub(crate) const MORE: [&str; 5] = ["record", "slots", "sets", "fair", "readers"];

/// The cases that the word `python` stands for.
pub(crate) const PYTHON: [&str; 2] = ["python", "python-many"];

const fn case(name: &'static str, run: fn(&Bench) -> Outcome<Report>) -> Case {
    Case { name, run }
}

type JobMain = fn(&Job) -> Outcome<()>;

/// The jobs of workers.
pub(crate) const JOBS: &[(&str, JobMain)] = &[
    (HOLD, hold),
    (handoff::JOB, handoff::job),
    (cli::waiting::JOB, cli::waiting::job),
    (crowd::JOB, crowd::job),
    (engines::JOB, engines::job),
    (processes::JOB, processes::job),
    (sets::JOB, sets::job),
    (waiters::THREADS_JOB, waiters::threads_job),
    (waiters::SINGLE_JOB, waiters::single_job),
];

const HOLD: &str = "hold";

/// Another process that holds the lock until the handle is dropped.
fn held_elsewhere(path: &Path) -> Outcome<Worker> {
    let mut holder = Worker::start(HOLD, Peer::Raw, path, &[])?;
    holder.expect("held")?;
    Ok(holder)
}

fn hold(job: &Job) -> Outcome<()> {
    let mut result = Ok(());
    let mut lock = job.peer.open(&job.path)?;
    lock.exclusive(&mut || result = job.tell("held").and_then(|()| job.hear()).map(drop))?;
    result
}
