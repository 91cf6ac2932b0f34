//! `holdlock demo`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::demo::Settings;
use crate::duration;
use crate::exit::Failure;
use crate::show::number::within;
use crate::show::svg;

const BRIEF: super::Brief = super::Brief {
    common: &["workers", "max-sleep", "lock", "svg"],
    after: "\
Exit codes: 0 as expected; 1 sections overlapped with the lock; 64 to 73 trouble.

Examples:
  holdlock demo                       first without the lock, then with it
  holdlock demo --lock on ./x.lock    run it in two terminals: they take turns

`holdlock demo --help` has the details.",
};

const AFTER: &str = "\
Each worker is a process. It runs a critical section R times: it prints +[n],
sleeps, prints -[n], and sleeps as long again, still under the lock. Without a lock
the sections of different workers overlap; with the lock they must not.

Two demos on the same LOCK at the same time, in two terminals, take turns; the
verdict and the timeline of each cover both.

--svg writes a picture in addition to the text. With `--svg -` only the picture is
printed.

--json prints one document. A half is the part with or without the lock. Times are in
nanoseconds (`_ns`) since the beginning of their half; `begin_monotonic_ns` is that
beginning on the host's monotonic clock.
  version, lock, run (process id), workers, rounds, max_sleep_ns, ok
  halves[]: lock (\"off\" or \"on\"), begin_monotonic_ns, end_ns, ok,
    count (critical sections), overlapped (how many of them overlapped another),
    sections[]: run, worker, enter_ns, leave_ns, finished, overlapped
    events[]:   at_ns, run, worker, pid, event (\"wait\", \"enter\", \"leave\",
                \"release\")

Exit codes:
   0  as expected, also if sections overlapped without the lock
   1  sections overlapped with the lock
  64  wrong usage
  66  the lock file cannot be opened
  71  the operating system refused something
  73  the lock file or the picture cannot be created

Examples:
  holdlock demo                       first without the lock, then with it
  holdlock demo --max-sleep 20ms      the same, but faster
  holdlock demo --lock on ./x.lock    run it in two terminals: they take turns
  holdlock demo --svg demo.svg        draw a picture, too";

pub(super) fn command() -> Command {
    Command::new("demo")
        .bin_name("holdlock demo")
        .about("See what a lock is for: run processes without one, then with one")
        .after_help(AFTER)
        .args([
            Arg::new("workers")
                .long("workers")
                .value_name("N")
                .default_value("3")
                .allow_hyphen_values(true)
                .value_parser(|text: &str| within(text, 1..=64))
                .help("Start this many processes, 1 to 64"),
            Arg::new("rounds")
                .long("rounds")
                .value_name("R")
                .default_value("3")
                .allow_hyphen_values(true)
                .value_parser(|text: &str| within(text, 1..=1000))
                .help("Run this many critical sections in each process, 1 to 1000"),
            Arg::new("max-sleep")
                .long("max-sleep")
                .value_name("DURATION")
                .default_value("1s")
                .allow_hyphen_values(true)
                .value_parser(max_sleep)
                .help("Sleep at most DURATION at a time, 1ms to 1m"),
            Arg::new("lock")
                .long("lock")
                .value_name("WHICH")
                .default_value("both")
                .value_parser(PossibleValuesParser::new(["on", "off", "both"]))
                .hide_possible_values(true)
                .help("Use the lock: `on`, `off` or `both`"),
            svg::option("Also write a picture to FILE (`-`: only that, to stdout)"),
            Arg::new("json")
                .short('J')
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON document instead of the text"),
            Arg::new("LOCK")
                .default_value("demo")
                .value_parser(value_parser!(OsString))
                .help("A name, or a path (anything with a slash)"),
        ])
}

/// Parses the words after `demo`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches_with(command(), &BRIEF, words)?;
    let halves = match matches.remove_one::<String>("lock").as_deref() {
        Some("off") => vec![false],
        Some("on") => vec![true],
        _ => vec![false, true],
    };
    let svg: Option<PathBuf> = matches.remove_one("svg");
    let json = matches.get_flag("json");
    if json && svg.as_deref() == Some(Path::new("-")) {
        let message = "--json and --svg - cannot both have standard output";
        return Err(super::misused(command(), message));
    }
    Ok(Settings {
        workers: matches.remove_one("workers").expect("has a default"),
        rounds: matches.remove_one("rounds").expect("has a default"),
        max_sleep: matches.remove_one("max-sleep").expect("has a default"),
        halves,
        svg,
        json,
        lock: matches.remove_one("LOCK").expect("has a default"),
    })
}

fn max_sleep(text: &str) -> Result<Duration, String> {
    let duration = duration::parse(text)?;
    if (Duration::from_millis(1)..=Duration::from_secs(60)).contains(&duration) {
        Ok(duration)
    } else {
        Err("must be from 1ms to 1m".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Settings, Failure> {
        parse(words.iter().map(Into::into))
    }

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn the_default_is_three_times_three_with_both_halves() {
        let settings = parsed(&[]).unwrap();
        assert_eq!((settings.workers, settings.rounds), (3, 3));
        assert_eq!(settings.max_sleep, Duration::from_secs(1));
        assert_eq!(settings.halves, [false, true]);
        assert_eq!(settings.lock, "demo");
    }

    #[test]
    fn absurd_values_are_usage_errors() {
        for words in [
            ["--workers", "0"],
            ["--workers", "65"],
            ["--workers", "-1"],
            ["--workers", "x"],
            ["--rounds", "0"],
            ["--rounds", "99999999999999999999"],
            ["--max-sleep", "0"],
            ["--max-sleep", "-1s"],
            ["--max-sleep", "2h"],
            ["--lock", "maybe"],
        ] {
            let Err(failure) = parsed(&words) else {
                panic!("{words:?} was accepted")
            };
            assert_eq!(failure.code, crate::exit::USAGE, "{words:?}");
            assert!(
                failure.message.contains(words[1]) && !failure.message.contains("digit"),
                "{words:?}: {}",
                failure.message
            );
        }
    }
}
