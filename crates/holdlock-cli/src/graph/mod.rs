//! `holdlock graph`: which process waits for which.

mod dot;
mod json;
mod layers;
mod layout;
mod model;
mod svg;
mod text;

use std::ffi::OsString;
use std::path::PathBuf;

use holdlock::inspect;

use crate::exit::{self, Outcome};
use crate::lockdir::{self, Names};
use crate::show;
use crate::show::output::print;
use crate::show::spot::{self, Spot};
use crate::show::svg::Target;
use model::Graph;

/// The options of the command line.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) locks: Vec<OsString>,
    pub(crate) names: Names,
    pub(crate) all: bool,
    pub(crate) form: Form,
}

/// The form of the answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Dot,
    Json,
    /// To this file; `-` is standard output.
    Svg(PathBuf),
}

/// Looks at the locks and draws which process waits for which.
pub(crate) fn graph(settings: Settings) -> Outcome {
    let spots = settings
        .locks
        .iter()
        .map(|lock| Spot::of(&lockdir::locate_among(lock, settings.names)?.trusted()?))
        .collect::<Result<Vec<_>, _>>()?;
    let mut snapshot =
        inspect::host().map_err(|error| show::proc_failure("cannot look at the locks", error))?;
    spot::name(&mut snapshot.files, &spots);
    let named = |file: &_| spots.iter().any(|spot| spot.has(file));
    let mut graph = Graph::of(&snapshot, |file| {
        settings.all || !file.waiters.is_empty() || named(file)
    });
    if !spots.is_empty() {
        graph.keep_connected(named);
    }
    match &settings.form {
        Form::Text => print(&text::draw(&graph, &text::Ink::of_terminal()))?,
        Form::Dot => print(&dot::draw(&graph))?,
        Form::Json => print(&json::document(&graph, &snapshot.unseen))?,
        Form::Svg(file) => Target::create(file)?.write(&svg::draw(&graph))?,
    }
    show::tell_unseen(&snapshot);
    let stuck = graph.cycles.iter().any(|cycle| cycle.certain);
    Ok(if stuck { exit::STUCK } else { exit::SUCCESS })
}
