//! `holdlock torture`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::duration;
use crate::engines;
use crate::exit::Failure;
use crate::show::svg;
use crate::torture::fault::Fault;
use crate::torture::mode::Mode;
use crate::torture::{Settings, fresh_seed};

const BRIEF: super::Brief = super::Brief {
    common: &["for", "seed", "json", "svg"],
    after: "\
Works in a new directory in PATH and removes it; does not touch your lock files. At the URL of
an engine, uses new locks with names of their own.

Exit codes: 0 nothing found; 1 a lock broke a promise; 64 to 73 trouble.

Examples:
  holdlock torture                    test the current directory, for a minute
  holdlock torture --for 10s /srv/    test the file system of /srv
  holdlock torture redis://db/0       test the locks of an engine

`holdlock torture --help` has the details.",
};

const AFTER: &str = "\
Workers acquire locks in a new directory in PATH (.holdlock-torture-*), which is removed
at the end. Each worker is a process with four threads. Some use the library of
holdlock, some plain flock(2) or fcntl(2), some flock(1) if it is installed. They try,
give up, are cancelled, get signals, fork and start programs. Workers are killed
(KILL) and stopped (STOP). If PATH is a file, its directory is used. Root cannot test a
directory that another user could replace meanwhile.

If PATH is the URL of an engine (postgres://host/database, etcd://host, redis://host), the
workers use new locks of that engine, with a time limit of 3 s unless the URL has `ttl=`.
Workers are then also stopped for longer than the time limit, and holds are ended at the
engine. You may restart the engine meanwhile; do not end holds of the run yourself.

MODES, each on a lock file of its own:
  exclusive   exclusive requests
  shared      shared and exclusive requests, and conversions
  fair        requests that are served in the order in which they arrive
  ofd         locks of open file descriptions, beside users of fcntl(2)
  removal     holders remove, rename or replace the lock file
  deletion    holders delete the lock file on release
  record      holders leave a record in the lock file
  set         requests for some of six locks at once
  slots       a semaphore of three slots, beside requests for the whole file
  upgrade     readers, of which one at a time may upgrade
and only if you name them, over a directory:
  rewrite     holders read a file, and write it anew a while later
  register    holders write to a resource that checks their tokens
  run         commands under `holdlock run`, which is sometimes killed
Over an engine: exclusive, shared, slots, rewrite, register, run.

Findings (the first one ends the run):
  overlap      two holders at the same time
  lost-update  the data of a section changed behind the holder's back
  lost-wakeup  a waiter sleeps although the lock is free
  kept         the lock is held, but no holder has it
  starved      later requests passed a fair one
  overdue      a request did not end at its limit
  early        a request gave up before its limit
  inherited    a program inherited the lock file's descriptor
  conversion   a conversion lost the lock and did not say so
  failed       a request failed
  token        a token is not higher than the one before
  abandoned    the death of a holder was not reported, or was reported wrongly
  half-set     a set was acquired without one of its locks
  unnoticed    a holder was not told that its lock was lost
  fence        a resource took an older token, or refused that of the holder

After a finding, a file has the last events of all workers; its name is printed. The same
seed makes the same choices, but the kernel decides when each thread runs.

--svg draws the waits of each mode, and after a finding the events around it. With
`--svg -` only the picture is printed.

--json prints one document.
  version, path (or the URL), engine (null: files), file_system, seed, processes, threads
  (of each), took_ms, sections, per_second, kills, stops, breaks (holds that the run has
  ended at the engine), flock_runs (null: flock(1) is not installed)
  modes[]: mode, sections, refused, timed_out, cancelled, unreachable, lost (holds), fenced
    (writes that were refused because of their token), median_wait_us, p99_wait_us (both
    up to the next power of two nanoseconds), longest_wait_us
  left_out[]: mode, why (the reason why it is not possible here)
  found: null, or kind, mode, what, detail, participant, other, at_ms
  history: the file with the last events, or null

Ctrl-C ends the run early, with its report.

Exit codes:
   0  nothing found
   1  a lock broke a promise
  64  wrong usage
  66  the directory does not exist
  69  the engine does not answer at the start
  71  the operating system refused something, or locks do not work at all
  73  the directory, the history or the picture cannot be created
  75  the engine gave no lock for a minute
  77  the engine refuses the login
  78  the engine is no safe place for a lock

Examples:
  holdlock torture                                 test the current directory, for a minute
  holdlock torture --for 10s /srv/data             test the file system of /srv/data
  holdlock torture --modes fair,ofd --seed 7       test only these modes
  holdlock torture postgres://db.example/app       test the locks of an engine
  holdlock torture --json | jq .found              use it in a script";

pub(super) fn command() -> Command {
    Command::new("torture")
        .bin_name("holdlock torture")
        .about("Try hard to break locks in a directory or of an engine, and report what breaks")
        .after_help(AFTER)
        .args([
            Arg::new("for")
                .long("for")
                .value_name("DURATION")
                .default_value("60s")
                .allow_hyphen_values(true)
                .value_parser(time)
                .help("Run for DURATION"),
            Arg::new("sections")
                .long("sections")
                .value_name("N")
                .allow_hyphen_values(true)
                .value_parser(sections)
                .help("End earlier, after N critical sections"),
            Arg::new("modes")
                .long("modes")
                .value_name("MODES")
                .value_parser(modes)
                .help("Try only these modes, separated by commas"),
            Arg::new("seed")
                .long("seed")
                .value_name("N")
                .allow_hyphen_values(true)
                .value_parser(|text: &str| text.parse::<u64>().map_err(|_| "give a whole number"))
                .help("Make the choices of an earlier run"),
            svg::option("Also write a picture to FILE (`-`: only that, to stdout)"),
            Arg::new("json")
                .short('J')
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON document instead of the text"),
            Arg::new("fault")
                .long("fault")
                .value_name("NAME")
                .hide(true)
                .value_parser(|text: &str| Fault::named(text).ok_or("no such fault"))
                .help("Put a fault into the workers, which must be found"),
            Arg::new("PATH")
                .default_value(".")
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString))
                .help("A directory on the file system to be tested, or the URL of an engine"),
        ])
}

fn time(text: &str) -> Result<Duration, String> {
    let time = duration::parse(text)?;
    if time.is_zero() {
        return Err("give a time above 0: a run that tries nothing finds nothing".into());
    }
    Ok(time)
}

fn sections(text: &str) -> Result<u64, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "give a whole number above 0".into())
}

fn modes(text: &str) -> Result<Vec<Mode>, String> {
    let mut modes = Vec::new();
    for name in text.split(',') {
        let mode = Mode::named(name).ok_or_else(|| {
            let known = names(&Mode::ALL);
            format!("there is no mode `{name}`; give some of {known}")
        })?;
        if !modes.contains(&mode) {
            modes.push(mode);
        }
    }
    Ok(modes)
}

fn names(modes: &[Mode]) -> String {
    let names: Vec<&str> = modes.iter().map(|mode| mode.name()).collect();
    names.join(", ")
}

/// Parses the words after `torture`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches_with(command(), &BRIEF, words)?;
    let svg: Option<PathBuf> = matches.remove_one("svg");
    let json = matches.get_flag("json");
    if json && svg.as_deref() == Some(Path::new("-")) {
        let message = "--json and --svg - cannot both have standard output";
        return Err(super::misused(command(), message));
    }
    let place: OsString = matches.remove_one("PATH").expect("has a default");
    let at_engine = engines::is_url(&place);
    if at_engine && cfg!(not(feature = "engines")) {
        return Err(engines::refused(&place));
    }
    let possible = match at_engine {
        true => Mode::OF_ENGINES,
        false => &Mode::ALL[..],
    };
    let modes: Option<Vec<Mode>> = matches.remove_one("modes");
    let mut wanted = modes.iter().flatten();
    if let Some(mode) = wanted.find(|mode| !possible.contains(mode)) {
        let message = format!(
            "there is no mode `{}` over an engine; give some of {}",
            mode.name(),
            names(possible)
        );
        return Err(super::misused(command(), &message));
    }
    let random = || fastrand::Rng::with_seed(fresh_seed()).u64(..1_000_000);
    Ok(Settings {
        place,
        time: matches
            .remove_one::<Duration>("for")
            .expect("has a default"),
        sections: matches.remove_one("sections"),
        seed: matches.remove_one("seed").unwrap_or_else(random),
        modes: modes.unwrap_or_else(|| match at_engine {
            true => Mode::OF_ENGINES.to_vec(),
            false => Mode::OF_FILES.to_vec(),
        }),
        json,
        svg,
        fault: matches.remove_one("fault"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn absurd_values_are_usage_errors() {
        for words in [
            ["--for", "x"],
            ["--sections", "0"],
            ["--seed", "-1"],
            ["--modes", "exclusive,x"],
            ["--fault", "x"],
        ] {
            let failure = parse(words.iter().map(Into::into)).err();
            let failure = failure.unwrap_or_else(|| panic!("{words:?} was accepted"));
            assert_eq!(failure.code, crate::exit::USAGE, "{words:?}");
        }
    }

    #[test]
    fn a_mode_counts_once() {
        assert_eq!(modes("ofd,fair,ofd"), Ok(vec![Mode::Ofd, Mode::Fair]));
    }
}
