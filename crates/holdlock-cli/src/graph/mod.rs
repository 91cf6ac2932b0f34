//! `holdlock graph`: who keeps whom waiting.

mod dot;
mod json;
mod layers;
mod layout;
mod model;
mod svg;
mod text;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use holdlock::inspect;

use crate::exit::{self, CANNOT_CREATE, Failure, Outcome};
use crate::show::spot::{self, Spot};
use crate::{lockdir, show};
use model::Graph;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) locks: Vec<OsString>,
    pub(crate) all: bool,
    pub(crate) form: Form,
}

/// How it is shown.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Dot,
    Json,
    /// Into this file; `-` is standard output.
    Svg(PathBuf),
}

/// Looks at the locks and draws who waits for whom.
pub(crate) fn graph(settings: Settings) -> Outcome {
    let spots = settings
        .locks
        .iter()
        .map(|lock| Spot::of(&lockdir::locate(lock)?.trusted()?))
        .collect::<Result<Vec<_>, _>>()?;
    let mut snapshot =
        inspect::host().map_err(|error| Failure::system("cannot read /proc/locks", error))?;
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
        Form::Svg(file) if file == Path::new("-") => print(&svg::draw(&graph))?,
        Form::Svg(file) => write(file, &svg::draw(&graph))?,
    }
    show::tell_unseen(&snapshot);
    let stuck = graph.cycles.iter().any(|cycle| cycle.certain);
    Ok(if stuck { exit::STUCK } else { exit::SUCCESS })
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::output)
}

fn write(file: &Path, picture: &str) -> Result<(), Failure> {
    std::fs::write(file, picture).map_err(|error| {
        let message = format!("cannot write {}: {error}", show::text::path(file));
        Failure::new(CANNOT_CREATE, message)
    })
}
