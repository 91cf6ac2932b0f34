//! `holdlock path`.

use std::ffi::OsString;

use clap::{Arg, Command, value_parser};

use crate::exit::Failure;
use crate::lockdir::Names;

const AFTER: &str = "\
Names stand for files in a lock directory that is the same for every session,
service and cron job of a user, whatever their environment is:
  $HOLDLOCK_DIR            if it is set: an absolute path, whose parent exists
  /run/holdlock            for root; no other user can create it
  /run/lock/holdlock-UID   for another user; UID is the user's number
  /tmp/holdlock-UID        if that is missing and not every user can write to /run/lock
  /run/holdlock-system     with --system: names that all users share

In /run/lock and /tmp another user can create your directory first. holdlock refuses
such a directory: have root remove it, or set HOLDLOCK_DIR to a local directory of your
own, the same in every session, service and cron job. To create your directory at each
boot, root writes a line for each user to /etc/tmpfiles.d/holdlock.conf:
  d /run/lock/holdlock-1000 0700 ann ann -

Only root can create a name of --system, by using it once; then every user can lock it.

Exit codes:
   0  printed
  64  the name is not allowed, HOLDLOCK_DIR is not absolute, or HOLDLOCK_ENGINE is set, so
      that the name is a lock of that server
  73  the lock directory is not safe: it belongs to another user, others can write to it,
      or it is a symbolic link";

pub(super) fn command() -> Command {
    Command::new("path")
        .bin_name("holdlock path")
        .about("Print the path of a lock, without creating it")
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
