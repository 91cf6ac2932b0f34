//! `holdlock wait`.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::duration;
use crate::exit::Failure;
use crate::wait::Settings;
use crate::who::Patience;

const AFTER: &str = "\
LOCK is a name such as `backup`, for a file in your lock directory, or a path, which
is anything with a slash. DURATION is in seconds (5, 0.5) or has units: 500ms, 2m, 1h30m.

`wait` does not queue for the locks. It notices the end of a holder at once, and a
release by a process that continues up to a second later. Another process may acquire
the lock before you act: to hold the lock yourself, use `holdlock run`. A URL, or a name
while HOLDLOCK_ENGINE has one, is a lock between hosts: `wait` asks once a second.

--json prints one document at the end:
  version, free, waited_s
  locks[]: path, exists, held, files[], unseen[], as in `holdlock who --json`

Exit codes:
   0  no process holds any of the locks
  64  wrong usage
  65  without -w: the job that this command is part of holds a lock, so the wait would
      never end
  69  the engine of a URL does not answer
  71  it is unknown whether a lock is held
  73  the lock directory of a name is not safe (see `holdlock path --help`)
  75  a process still holds one of them after DURATION
  77  the engine refuses the login
  78  the engine is no safe place for a lock

Examples:
  holdlock wait backup && systemctl stop nas   after the backup
  holdlock wait -w 5m backup nightly           until both are free
  holdlock wait -w 0 backup                    is it free now?";

pub(super) fn command() -> Command {
    Command::new("wait")
        .bin_name("holdlock wait")
        .about("Wait until locks are free, without acquiring them")
        .after_help(AFTER)
        .args([
            Arg::new("LOCK")
                .required(true)
                .num_args(1..)
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString))
                .help("Names, paths (anything with a slash), or URLs"),
            Arg::new("wait")
                .short('w')
                .long("wait")
                .visible_alias("timeout")
                .value_name("DURATION")
                .allow_hyphen_values(true)
                .value_parser(duration::parse)
                .help("Give up if a lock is still held after DURATION"),
            super::system(),
            flag("quiet", "Print nothing").short('q'),
            flag("json", "Print one JSON document")
                .short('J')
                .conflicts_with("quiet"),
        ])
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

/// Parses the words after `wait`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches(command(), words)?;
    let limit = matches.remove_one("wait");
    Ok(Settings {
        locks: matches.remove_many("LOCK").into_iter().flatten().collect(),
        names: super::names(&matches),
        patience: limit.map_or(Patience::Endless, Patience::For),
        quiet: matches.get_flag("quiet"),
        json: matches.get_flag("json"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }
}
