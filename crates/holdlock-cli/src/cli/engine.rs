//! `holdlock engine`: what an engine needs for some options.

use std::ffi::OsString;

use clap::{Arg, Command, ValueHint, value_parser};

use crate::exit::Failure;

const AFTER: &str = "\
A lock of an engine needs no preparation. The options --at-most-every and --if-abandoned
of `holdlock run` need a place in which PostgreSQL remembers the runs: `init` makes the
table holdlock.runs, in the schema holdlock, in the database of the URL. All users of
the database may use it. Other engines need nothing.

A second `init` does no harm. DROP SCHEMA holdlock CASCADE removes everything again.

Exit codes:
   0  it is there
  64  wrong usage
  69  the engine does not answer
  77  the engine refuses the login, or this user may not make the table
  78  the engine is no safe place for locks

Examples:
  holdlock engine init postgres://db.example/app
  holdlock run --at-most-every 1h postgres://db.example/app#poll -- ./poll";

pub(super) fn command() -> Command {
    Command::new("engine")
        .bin_name("holdlock engine")
        .about("Prepare a database for --at-most-every and --if-abandoned")
        .override_usage("holdlock engine init URL")
        .after_help(AFTER)
        .args([
            Arg::new("ACTION")
                .required(true)
                .value_parser(["init"])
                .hide_possible_values(true)
                .help("init"),
            Arg::new("URL")
                .required(true)
                .value_hint(ValueHint::Url)
                .value_parser(value_parser!(OsString))
                .help("The database, as in postgres://host/database"),
        ])
}

/// Parses the words after `engine`: the URL to prepare.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<OsString, Failure> {
    let mut matches = super::matches(command(), words)?;
    Ok(matches.remove_one("URL").expect("clap requires it"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_parser_is_consistent() {
        super::command().debug_assert();
    }
}
