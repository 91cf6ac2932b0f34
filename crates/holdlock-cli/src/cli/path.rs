//! `holdlock path`.

use std::ffi::OsString;

use clap::{Arg, Command, value_parser};

use crate::exit::Failure;

const AFTER: &str = "\
Names stand for files in a lock directory that is the same for every session,
service and cron job of a user, whatever is in their environment:
  $HOLDLOCK_DIR            where set
  /run/holdlock            for root; nobody else can make it
  /run/lock/holdlock-UID   for others, UID being their user id
  /tmp/holdlock-UID        where that is not there, and the host has no /run/lock
                           for everybody

In the last two anybody can make a directory of your name before you do. Such a
directory is refused: have root remove it, or set HOLDLOCK_DIR to a local directory
of your own, the same in every session, service and cron job. To be first after each
boot, root writes to /etc/tmpfiles.d/holdlock.conf, for each user:
  d /run/lock/holdlock-1000 0700 ann ann -

Exit codes: 0 printed, 64 no such name is possible, 73 the lock directory is
somebody else's.";

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
