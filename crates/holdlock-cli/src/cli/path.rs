//! `holdlock path`.

use std::ffi::OsString;

use clap::{Arg, Command, value_parser};

use crate::exit::Failure;

const AFTER: &str = "\
Names stand for files in a lock directory that is the same for every session,
service and cron job of a user:
  $HOLDLOCK_DIR            where set
  /run/lock/holdlock       for root
  /run/lock/holdlock-UID   for others, UID being their user id
  /tmp/holdlock-UID        where the host has no /run/lock for everybody

Exit codes: 0 printed, 64 no such name is possible.";

pub(super) fn command() -> Command {
    Command::new("path")
        .bin_name("holdlock path")
        .about("Print the path of a lock, creating nothing")
        .after_help(AFTER)
        .arg(
            Arg::new("LOCK")
                .required(true)
                .value_parser(value_parser!(OsString))
                .help("A name; or a path (anything with a slash), printed as it is"),
        )
}

/// Parses the words after `path`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<OsString, Failure> {
    let mut matches = super::matches(command(), words)?;
    Ok(matches.remove_one("LOCK").expect("clap requires it"))
}
