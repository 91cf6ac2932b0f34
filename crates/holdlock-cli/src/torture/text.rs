//! The report for people.

use std::path::Path;
use std::time::Duration;

use super::Settings;
use super::crew::THREADS_EACH;
use super::supervisor::Report;
use super::tally::Counts;
use crate::show::table::{Side, Table};
use crate::show::terminal::{has_colour, painted};
use crate::show::text;
use crate::show::time::rounded;

pub(super) fn report(settings: &Settings, report: &Report, history: Option<&Path>) -> String {
    let mut lines = format!(
        "{} ({}), seed {}: {} processes of {THREADS_EACH} threads, {}\n",
        text::path(&report.place),
        report
            .engine
            .or(report.file_system.as_deref())
            .unwrap_or("unknown file system"),
        settings.seed,
        report.processes,
        rounded(report.took),
    );
    lines += &table(&report.tally.0, report.engine.is_some());
    for (mode, why) in &report.left_out {
        lines += &format!(
            "{} is not possible here: {}\n",
            mode.name(),
            text::printable(why)
        );
    }
    let flock = match report.flock_runs {
        _ if report.engine.is_some() => others(report),
        Some(runs) => text::count(runs as usize, "run of flock(1)", "runs of flock(1)"),
        None => "flock(1) is not installed".to_owned(),
    };
    lines += &format!(
        "{} sections, {} a second; {}, {}, {flock}\n",
        grouped(report.tally.sections()),
        grouped(per_second(report)),
        text::count(report.kills as usize, "kill", "kills"),
        text::count(report.stops as usize, "stop", "stops"),
    );
    lines + &verdict(report, history)
}

pub(super) fn per_second(report: &Report) -> u64 {
    let seconds = report.took.as_secs_f64().max(0.001);
    (report.tally.sections() as f64 / seconds) as u64
}

/// What only runs over engines have.
fn others(report: &Report) -> String {
    let modes = report.tally.0.iter();
    let unreachable: u64 = modes.map(|counts| counts.unreachable).sum();
    let breaks = text::count(report.breaks as usize, "hold broken", "holds broken");
    let silent = match unreachable {
        0 => String::new(),
        some => {
            ", ".to_owned()
                + &text::count(some as usize, "request unanswered", "requests unanswered")
        }
    };
    breaks + &silent
}

fn table(modes: &[Counts], at_engine: bool) -> String {
    let mut table = Table::default();
    table.column("MODE", Side::Left);
    let requests = ["SECTIONS", "REFUSED", "TIMED OUT", "CANCELLED"];
    let losses: &[&str] = if at_engine { &["LOST", "FENCED"] } else { &[] };
    let waits = ["99 % WAIT UP TO", "LONGEST WAIT"];
    for heading in requests.iter().chain(losses).chain(&waits) {
        table.column(heading, Side::Right);
    }
    for counts in modes {
        let mut row = vec![
            counts.mode.name().to_owned(),
            grouped(counts.sections),
            grouped(counts.refused),
            grouped(counts.timed_out),
            grouped(counts.cancelled),
        ];
        if at_engine {
            row.extend([grouped(counts.lost), grouped(counts.fenced)]);
        }
        row.extend([wait(counts.wait_of(0.99)), wait(counts.longest)]);
        table.row(row);
    }
    table.draw(true, None)
}

/// `12 µs`, or as other times from a millisecond on.
pub(super) fn wait(time: Duration) -> String {
    if time < Duration::from_millis(1) {
        format!("{} µs", time.as_micros())
    } else {
        rounded(time)
    }
}

fn verdict(report: &Report, history: Option<&Path>) -> String {
    let Some(finding) = &report.finding else {
        return painted("Nothing found", "32", has_colour()) + &untried(report) + "\n";
    };
    let found = painted("FOUND", "1;31", has_colour());
    let mut lines = format!(
        "{found} in mode {}: {} ({})\n",
        finding.mode.name(),
        finding.kind.meaning(),
        text::printable(&finding.text),
    );
    if let Some(path) = history {
        lines += &format!("The last events of the workers: {}\n", text::path(path));
    }
    lines
}

/// The modes that had no time for a section: the run says nothing about them.
fn untried(report: &Report) -> String {
    let is_possible = |mode| !report.left_out.iter().any(|(left, _)| *left == mode);
    let modes = report.tally.0.iter();
    let untried = modes.filter(|counts| counts.sections == 0 && is_possible(counts.mode));
    let names: Vec<&str> = untried.map(|counts| counts.mode.name()).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!("; run longer to try {}", names.join(", ")),
    }
}

/// `1 234 567`
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_numbers_are_grouped() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1234), "1 234");
        assert_eq!(grouped(123_456_789), "123 456 789");
    }
}
