//! `holdlock graph`.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgGroup, Command, ValueHint, value_parser};

use crate::exit::Failure;
use crate::graph::{Form, Settings};
use crate::show::json::PROCESS_FIELDS;
use crate::show::svg;

const BRIEF: super::Brief = super::Brief {
    common: &["all", "svg", "json"],
    after: "\
LOCK is a name such as `backup`, or a path, which is anything with a slash.

Exit codes: 0 no deadlock; 1 a deadlock; 64 wrong usage; 71, 73 trouble.

Examples:
  holdlock graph                   all waits of the host
  holdlock graph --svg locks.svg   write a picture

`holdlock graph --help` has the details.",
};

const AFTER: &str = "\
Prints trees. A process that does not wait is at the left; below it are the locks that
it holds; below each lock are its waiters in the order of service, with the locks that
they hold. Deadlocks come first: processes that wait for one another in a cycle and
cannot make progress. A deadlock is only `possible` if a process in the cycle has
several threads, because one of them might release the lock. Threads that queue for a
lock of their own process are no deadlock unless all threads of the process wait.

LOCK is a name such as `backup`, or a path, which is anything with a slash. Without
LOCK, all locks of the host that have waiters are shown. Only root sees everything;
standard error reports what could not be seen.

--json prints one document:
  version, unseen[] (sentences)
  nodes[]: id, type: process (process),
    file (path, removed, place: device, inode), unseen (a process that is hidden)
  edges[]: from, to (ids), deadlock (index, or null), type:
    waits (process to file): mode, kind, range, slot (null), turn
    holds (file to process): mode, kind, range, slot (a number, or null)
    ends (process to process: the first waits for the end of the second)
  deadlocks[]: certain, steps[]: waiter, file, holder (ids), kind, mode
  process: PROCESS_FIELDS

Exit codes:
   0  no deadlock, or only possible ones
   1  a deadlock
  64  wrong usage
  71  the operating system refused something
  73  the picture cannot be written; the lock directory of a name is not safe (see
      `holdlock path --help`)

Examples:
  holdlock graph                       all waits of the host
  holdlock graph backup                all that is connected with this lock
  holdlock graph --svg locks.svg       write a picture
  holdlock graph --dot | dot -Tpng     draw it by graphviz
  holdlock graph >/dev/null || alarm   act on a deadlock";

pub(super) fn command() -> Command {
    Command::new("graph")
        .bin_name("holdlock graph")
        .about("Show which process waits for which, and deadlocks")
        .after_help(AFTER.replace("PROCESS_FIELDS", PROCESS_FIELDS))
        .args([
            Arg::new("LOCK")
                .num_args(0..)
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString))
                .help("Show only what is connected with these locks (names or paths)"),
            Arg::new("all")
                .short('a')
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Show also locks without waiters"),
            super::system(),
            Arg::new("dot")
                .long("dot")
                .action(ArgAction::SetTrue)
                .help("Print the graph for graphviz"),
            svg::option("Write a picture to FILE (`-`: standard output)"),
            Arg::new("json")
                .short('J')
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Print one JSON document"),
        ])
        .group(ArgGroup::new("form").args(["dot", "svg", "json"]))
}

/// Parses the words after `graph`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches_with(command(), &BRIEF, words)?;
    let form = if let Some(file) = matches.remove_one("svg") {
        Form::Svg(file)
    } else if matches.get_flag("dot") {
        Form::Dot
    } else if matches.get_flag("json") {
        Form::Json
    } else {
        Form::Text
    };
    let locks = matches.remove_many("LOCK");
    Ok(Settings {
        names: super::names(&matches),
        locks: locks.into_iter().flatten().collect(),
        all: matches.get_flag("all"),
        form,
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
    fn a_picture_has_a_file_and_excludes_other_forms() {
        for words in [["--svg", "x.svg", "backup"], ["backup", "--svg", "x.svg"]] {
            let parsed = parse(words.iter().map(Into::into)).unwrap();
            assert_eq!(parsed.locks, ["backup"]);
            assert_eq!(parsed.form, Form::Svg("x.svg".into()));
        }
        for words in [&["--svg"][..], &["--svg", "-", "--dot"]] {
            let refused = parse(words.iter().map(Into::into));
            assert_eq!(refused.err().map(|failure| failure.code), Some(64));
        }
    }
}
