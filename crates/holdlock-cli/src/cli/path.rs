//! `holdlock path`.

use std::ffi::OsString;

use clap::{Arg, Command, value_parser};

use crate::exit::Failure;
use crate::lockdir::Names;

const AFTER: &str = "\
Names stand for files in a lock directory that is the same for every session,
service and cron job of a user, whatever is in their environment:
  $HOLDLOCK_DIR            where it is set
  /run/holdlock            for root; no other user can make it
  /run/lock/holdlock-UID   for other users, UID being the user's number
  /tmp/holdlock-UID        where that is missing, and /run/lock is not open to all
  /run/holdlock-system     with --system: names that all users share

In /run/lock and /tmp another user can make the directory of your name first. Such a
directory is refused: have root remove it, or set HOLDLOCK_DIR to a local directory
of your own, the same in every session, service and cron job. To be first after each
boot, root writes to /etc/tmpfiles.d/holdlock.conf, for each user:
  d /run/lock/holdlock-1000 0700 ann ann -

Only root makes names with --system, by using them once; then every user can.

Exit codes: 0 printed, 64 no such name is possible, 73 the lock directory belongs to
another user.";

pub(super) fn command() -> Command {
    Command::new("path")
        .bin_name("holdlock path")
        .about("Print the path of a lock, creating nothing")
        .after_help(AFTER)
        .arg(super::system())
        .arg(
            Arg::new("LOCK")
                .required(true)
                .value_parser(value_parser!(OsString))
                .help("A name; or a path (anything with a slash), printed as it is"),
        )
}

/// Parses the words after `path`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<(OsString, Names), Failure> {
    let mut matches = super::matches(command(), words)?;
    let lock = matches.remove_one("LOCK").expect("clap requires it");
    Ok((lock, super::names(&matches)))
}
