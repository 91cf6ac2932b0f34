//! `holdlock doctor`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::doctor::Settings;
use crate::duration;
use crate::exit::Failure;

const BRIEF: super::Brief = super::Brief {
    common: &["json", "timeout"],
    after: "\
Creates, writes and locks no lock file; tries locks on a temporary file beside it.

Exit codes: 0 locks work, perhaps with warnings; 1 locks would not be safe here;
64 wrong usage; 71 the operating system refused something.

Examples:
  holdlock doctor backup       check the lock of `holdlock run backup`
  holdlock doctor /srv/data/   check any lock file in this directory

`holdlock doctor --help` has the details.",
};

const AFTER: &str = "\
Looks at the file system and its mount, at the lock file and its directory, at the
users that can acquire the lock, at containers and temp cleaners. Then two processes
try locks on a temporary file in the same directory: whether they exclude, are shared,
released, and freed by kill -9, and whether the removal of a lock file is noticed.

The lock file is never created, written or locked, and may be missing. The
temporary file (.holdlock-doctor-*) is removed again. If the file system does not
answer within --timeout, that is a finding, too.

If LOCK is a URL, or a name while HOLDLOCK_ENGINE has one, the engine is examined: its
version, poolers and proxies, what a failover does, whether tokens survive a crash, TLS,
clocks, latency, free connections. A lock of the name holdlock-doctor is acquired for a
moment. It does not matter whether the URL has a #name.

Levels:
  ok       as it should be
  note     good to know
  warning  locks work, with a limit that may matter
  unsafe   locks do not work, or do not exclude all processes that they should

--json prints one document.
  version, path, safe (true if no finding is `unsafe`); engine, for a URL
  findings[]: id (the same in every version), level, found (a sentence),
    remedy (null if there is nothing to do)

Exit codes:
   0  locks work, perhaps with warnings
   1  locks would not be safe here, or the directory does not exist
  64  wrong usage
  69  the engine of the URL does not answer
  71  the operating system refused something
  77  the engine refuses the login

Examples:
  holdlock doctor backup             check the lock of `holdlock run backup`
  holdlock doctor /srv/data/x.lock   check a lock file
  holdlock doctor /srv/data/         check any lock file in this directory
  holdlock doctor postgres://db/app  check a server for locks between hosts
  holdlock doctor --json /mnt/nfs/ | jq '.findings[] | select(.level != \"ok\")'";

pub(super) fn command() -> Command {
    Command::new("doctor")
        .bin_name("holdlock doctor")
        .about("Check whether locks work in a directory, and say what to do")
        .after_help(AFTER)
        .args([
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .short('J')
                .help("Print one JSON document instead of lines"),
            Arg::new("timeout")
                .long("timeout")
                .value_name("DURATION")
                .allow_hyphen_values(true)
                .value_parser(longer_than_nothing)
                .help("Give the file system DURATION for each step [default: 5s]"),
            Arg::new("LOCK")
                .required(true)
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString))
                .help("A name, a path (anything with a slash), a directory with a slash, or a URL"),
        ])
}

fn longer_than_nothing(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("must be longer than 0".into()),
        some => Ok(some),
    }
}

/// Parses the words after `doctor`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches_with(command(), &BRIEF, words)?;
    Ok(Settings {
        lock: matches.remove_one("LOCK").expect("clap requires it"),
        json: matches.get_flag("json"),
        timeout: matches.remove_one("timeout"),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_parser_is_consistent() {
        super::command().debug_assert();
    }
}
