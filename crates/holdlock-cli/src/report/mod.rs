//! `holdlock report`: a summary of the lines of `holdlock run --log`.
//!
//! It reads a log to the end, whatever is in it: it reports and leaves out a line that is not from
//! holdlock, because people read logs when something has gone wrong.

mod axis;
mod clock;
mod entry;
mod json;
mod summary;
mod svg;
mod table;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use crate::exit::{self, Failure, Outcome, reason};
use crate::show::output::print;
use crate::show::svg::Target;
use crate::show::text;
use clock::Time;
pub(crate) use clock::since;
use entry::Entry;

/// The number of lines left out that are reported one by one.
const NAMED: usize = 10;

/// What the command line asks for.
pub(crate) struct Settings {
    /// `-` is standard input.
    pub(crate) file: OsString,
    pub(crate) form: Form,
    /// Runs that began before this time are left out.
    pub(crate) since: Option<Time>,
}

/// The form of the report.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Table,
    Json,
    /// To this file; `-` is standard output.
    Svg(PathBuf),
}

/// A log as it was read.
struct Log {
    entries: Vec<Entry>,
    /// The numbers of the lines that are not ours, and the reasons.
    foreign: Vec<(u64, String)>,
}

/// Reads the log and shows the summary.
pub(crate) fn report(settings: Settings) -> Outcome {
    let name = if settings.file == "-" {
        "standard input".to_owned()
    } else {
        text::path(&settings.file)
    };
    let mut log = read(&settings.file).map_err(|error| {
        Failure::new(
            exit::NO_INPUT,
            format!("cannot read {name}: {}", reason(&error)),
        )
    })?;
    if let Some(since) = settings.since {
        log.entries.retain(|entry| entry.start >= since);
    }
    log.entries.sort_by_key(|entry| entry.start);
    tell_of_foreign(&name, &log.foreign);
    let locks = summary::by_lock(&log.entries);
    match &settings.form {
        Form::Json => print(&json::document(&log, &locks))?,
        Form::Svg(file) => Target::create(file)?.write(&svg::picture(&log.entries, &locks))?,
        Form::Table if log.entries.is_empty() => print(&nothing(&name, settings.since))?,
        Form::Table => print(&table::draw(&log.entries, &locks))?,
    }
    Ok(exit::SUCCESS)
}

fn nothing(name: &str, since: Option<Time>) -> String {
    match since {
        None => format!("{name}: no runs\n"),
        Some(time) => format!("{name}: no runs since {} UTC\n", clock::full(time)),
    }
}

fn read(file: &OsString) -> io::Result<Log> {
    if file == "-" {
        lines(io::stdin().lock())
    } else {
        lines(BufReader::new(File::open(file)?))
    }
}

/// Reads line by line, as bytes, because even the encoding is uncertain.
fn lines(mut source: impl BufRead) -> io::Result<Log> {
    let mut log = Log {
        entries: Vec::new(),
        foreign: Vec::new(),
    };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if source.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match entry::parse(&line) {
            Ok(entry) => log.entries.push(entry),
            Err(reason) => log.foreign.push((number, reason)),
        }
    }
    Ok(log)
}

fn tell_of_foreign(name: &str, foreign: &[(u64, String)]) {
    for (number, reason) in foreign.iter().take(NAMED) {
        exit::warn(&format!("{name}: line {number} left out: {reason}"));
    }
    if foreign.len() > NAMED {
        let more = foreign.len() - NAMED;
        let total = foreign.len();
        exit::warn(&format!(
            "{name}: and {more} more, {total} lines left out in all"
        ));
    }
}
