//! What the participants did last, kept in a file when something was found.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::Settings;
use super::board::PARTICIPANTS;
use super::event::Event;
use super::supervisor::Report;
use crate::exit::{CANNOT_CREATE, Failure, reason};
use crate::show::text;

/// Writes all remembered events to a fresh file.
pub(super) fn keep(settings: &Settings, report: &Report) -> Result<PathBuf, Failure> {
    let name = format!(
        "holdlock-torture-{}-{}.log",
        settings.seed,
        std::process::id()
    );
    let path = std::env::temp_dir().join(name);
    let failed = |error| {
        let (path, why) = (text::path(&path), reason(&error));
        Failure::new(CANNOT_CREATE, format!("cannot write {path}: {why}"))
    };
    // Never through a link that another user has made.
    let mut file = File::create_new(&path).map_err(failed)?;
    let lines = lines(settings, report);
    file.write_all(lines.as_bytes()).map_err(failed)?;
    Ok(path)
}

fn lines(settings: &Settings, report: &Report) -> String {
    let mut lines = format!(
        "# holdlock torture --seed {} {}\n",
        settings.seed,
        text::path(&report.place)
    );
    if let Some(found) = &report.finding {
        let at = found.at.saturating_sub(report.began);
        let other = found.other.map(|other| format!(" and {other}"));
        // A String takes everything.
        let _ = writeln!(
            lines,
            "# {at} ns: {} in mode {}, participant {}{}: {}",
            found.kind.name(),
            found.mode.name(),
            found.participant,
            other.unwrap_or_default(),
            text::printable(&found.text),
        );
    }
    lines += "# nanoseconds, participant, pid, mode, request, event, detail\n";
    for (participant, event) in events(report) {
        let pid = &report.board.participants[participant].pid;
        let _ = writeln!(
            lines,
            "{} {participant} {} {} {} {} {}",
            event.at.saturating_sub(report.began),
            pid.load(Ordering::Relaxed),
            event.mode.name(),
            event.round,
            event.what.name(),
            event.detail,
        );
    }
    lines
}

/// The last events of all participants, in the order of time.
pub(super) fn events(report: &Report) -> Vec<(usize, Event)> {
    let mut events = Vec::new();
    for id in 0..PARTICIPANTS {
        let last = report.board.participants[id].last_events();
        events.extend(last.into_iter().map(|event| (id, event)));
    }
    events.sort_by_key(|(_, event)| event.at);
    events
}
