//! `holdlock graph`.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgGroup, Command, ValueHint, value_parser};

use crate::exit::Failure;
use crate::graph::{Form, Settings};
use crate::show::json::PROCESS_FIELDS;
use crate::show::svg;

const AFTER: &str = "\
Each process that waits for nothing itself stands at the left, below it the
locks it holds, and below those who waits for them, in their order, with the locks
these hold in turn. Deadlocks come first: processes that wait for one another in a
cycle, so that none can ever go on. A deadlock is `possible` where a process with
several threads might release by one thread what it waits for with another.

Without LOCK all locks of the host are looked at. Those for which nobody waits are
left out, unless --all or LOCK names them. Only root sees everything; what
could not be seen is told on standard error.

--json prints one document:
  version, unseen[] (sentences)
  nodes[]: id, type: process (process),
    file (path, removed, place: device, inode), or unseen, who cannot be seen
  edges[]: from, to (ids), deadlock (index, or null), type:
    waits (process to file): mode, kind, range, turn
    holds (file to process): mode, kind, range
    ends (process to process, for whose end it waits)
  deadlocks[]: certain, steps[]: waiter, file, holder (ids), kind, mode
  process: PROCESS_FIELDS

Exit codes:
   0  no deadlock, or only possible ones
   1  a deadlock
  64  wrong usage
  71  the operating system refused something
  73  the picture cannot be written; the lock directory is somebody else's

Examples:
  holdlock graph                       who keeps whom waiting
  holdlock graph backup                and all that has to do with this lock
  holdlock graph --svg locks.svg       as a picture
  holdlock graph --dot | dot -Tpng     by graphviz
  holdlock graph >/dev/null || alarm   is anything stuck for ever?";

pub(super) fn command() -> Command {
    Command::new("graph")
        .bin_name("holdlock graph")
        .about("Who keeps whom waiting, and where they wait in a cycle")
        .after_help(AFTER.replace("PROCESS_FIELDS", PROCESS_FIELDS))
        .args([
            Arg::new("LOCK")
                .num_args(0..)
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString))
                .help("Only what is connected with these: names, or paths"),
            Arg::new("all")
                .short('a')
                .long("all")
                .action(ArgAction::SetTrue)
                .help("Also locks for which nobody waits"),
            Arg::new("dot")
                .long("dot")
                .action(ArgAction::SetTrue)
                .help("Print it for graphviz"),
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
    let mut matches = super::matches(command(), words)?;
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
