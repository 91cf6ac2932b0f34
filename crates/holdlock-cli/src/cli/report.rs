//! `holdlock report`.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::exit::Failure;
use crate::report::{self, Form, Settings};
use crate::show::svg;

const BRIEF: super::Brief = super::Brief {
    common: &["since", "svg", "json"],
    after: "\
WHEN is a time (2026-11-23T08:00:00Z), a day, or a duration before now (2h, 7d).

Exit codes: 0 done; 64 wrong usage; 66 FILE cannot be read; 71, 73 trouble.

Examples:
  holdlock run --log /var/log/locks.json backup -- rsync -a /srv /mnt
  holdlock report --since 1d /var/log/locks.json

`holdlock report --help` has the details.",
};

const AFTER: &str = "\
Prints for each lock: the runs that held it, the conflicts (runs that gave up because
the lock was not free), how long the runs waited and held the lock, and the command
that held it longest. p95: 95 of 100 runs took no longer than this.

`report` leaves out a line that is not from `holdlock run --log`, or that has a time
after the year 2100, and says so on standard error. A run under several locks counts for each of them.

WHEN is a time (2026-11-23T08:00:00Z), a day (2026-11-23, UTC), or a duration before
now (2h, 7d).

--json prints one document. Times are in seconds (`_s`).
  version, lines (the number of runs in the report), left_out[]: line, reason
  locks[]: lock, runs, conflicts, outcomes (how many of each), waited_s, held_s:
    median, p95, longest; longest: command, pid, held_s

Exit codes:
   0  done, also when the log is empty or lines were left out
  64  wrong usage
  66  FILE cannot be read
  71  the operating system refused something
  73  the picture cannot be written

Examples:
  holdlock run --log /var/log/locks.json backup -- rsync -a /srv /mnt
  holdlock report /var/log/locks.json                   all runs
  holdlock report --since 1d /var/log/locks.json        runs of the last day
  holdlock report --svg locks.svg /var/log/locks.json   a picture over time
  grep nightly locks.json | holdlock report -           only some lines";

pub(super) fn command() -> Command {
    Command::new("report")
        .bin_name("holdlock report")
        .about("Report waits and holds from a log of `holdlock run --log`")
        .after_help(AFTER)
        .args([
            Arg::new("json")
                .short('J')
                .long("json")
                .action(ArgAction::SetTrue)
                .conflicts_with("svg")
                .help("Print one JSON document instead of the table"),
            svg::option("Write a picture to FILE (`-`: standard output) instead of the table"),
            Arg::new("since")
                .long("since")
                .value_name("WHEN")
                .allow_hyphen_values(true)
                .value_parser(report::since)
                .help("Report only runs that began at WHEN or later"),
            Arg::new("FILE")
                .required(true)
                .value_hint(ValueHint::FilePath)
                .value_parser(value_parser!(OsString))
                .help("The log of `holdlock run --log`; `-` is standard input"),
        ])
}

/// Parses the words after `report`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches_with(command(), &BRIEF, words)?;
    Ok(Settings {
        file: matches.remove_one("FILE").expect("clap requires it"),
        since: matches.remove_one("since"),
        form: match matches.remove_one("svg") {
            Some(file) => Form::Svg(file),
            None if matches.get_flag("json") => Form::Json,
            None => Form::Table,
        },
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_parser_is_consistent() {
        super::command().debug_assert();
    }
}
