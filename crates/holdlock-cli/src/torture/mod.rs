//! `holdlock torture`: does locking really work here?
//!
//! This process starts workers (this program again), which take locks in many ways, and disturbs
//! them by the plan. The workers check that they are alone where they should be (`section`); this
//! process checks that no wait goes wrong (`watch`). All of them share one memory (`board`).

mod board;
mod crew;
mod engine;
mod event;
pub(crate) mod fault;
mod finding;
mod flock_program;
mod held;
mod history;
mod json;
mod kernel;
mod mark;
pub(crate) mod mode;
mod place;
mod plan;
mod progress;
mod rounds;
mod section;
mod spans;
mod standstill;
mod supervisor;
mod svg;
mod tally;
mod tenure;
mod text;
mod watch;
pub(crate) mod worker;

use std::collections::hash_map::RandomState;
use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::engines::is_url;
use crate::exit::{self, Failure, Outcome};
use crate::show::output::print;
use crate::show::svg::Target;
use crate::sys::signals::Blocked;
use fault::Fault;
use mode::Mode;
pub(crate) use worker::WORKER;

/// What the command line asks for.
pub(crate) struct Settings {
    /// A path or a URL.
    pub(crate) place: OsString,
    pub(crate) time: Duration,
    /// The run also ends after this many sections.
    pub(crate) sections: Option<u64>,
    pub(crate) seed: u64,
    pub(crate) modes: Vec<Mode>,
    pub(crate) json: bool,
    pub(crate) svg: Option<PathBuf>,
    pub(crate) fault: Option<Fault>,
}

/// Runs it and reports.
pub(crate) fn torture(settings: Settings) -> Outcome {
    let picture = match &settings.svg {
        Some(path) => Some(Target::create(path)?),
        None => None,
    };
    // From here on a signal ends the run, which then removes its directory.
    let signals = Blocked::new(&[libc::SIGINT, libc::SIGTERM, libc::SIGHUP])
        .map_err(|error| Failure::system("cannot block signals", error))?;
    let place = match is_url(&settings.place) {
        true => place::Place::at_engine(&settings.place)?,
        false => place::Place::create(Path::new(&settings.place))?,
    };
    let (modes, left_out) = place.modes(&settings.modes)?;
    let report = supervisor::run(&settings, signals, &place, &modes, left_out)?;
    let history = match &report.finding {
        Some(_) => Some(history::keep(&settings, &report)?),
        None => None,
    };
    let history = history.as_deref();
    if settings.json {
        print(&json::document(&settings, &report, history))?;
    } else if settings.svg.as_deref() != Some(Path::new("-")) {
        print(&text::report(&settings, &report, history))?;
    }
    if let Some(target) = picture {
        target.write(&svg::picture(&report))?;
    }
    Ok(match report.finding {
        Some(_) => exit::FOUND,
        None => exit::SUCCESS,
    })
}

/// A number that no other run has.
pub(crate) fn fresh_seed() -> u64 {
    // The seed of the standard library's hash tables comes from the kernel.
    RandomState::new().build_hasher().finish()
}
