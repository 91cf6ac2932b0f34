//! `holdlock list`.

use std::ffi::OsString;

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint, value_parser};

use crate::exit::Failure;
use crate::list::{Column, Filter, Form, Settings};
use crate::show::held;
use crate::show::json::{ENGINE_FIELDS, PROCESS_FIELDS};
use crate::show::number;

const BRIEF: super::Brief = super::Brief {
    common: &["pid", "user", "waiting", "output", "json"],
    after: "\
LOCK is a name such as `backup`, or a path, which is anything with a slash.

Exit codes: 0 done, also when there are no locks; 64 wrong usage; 66 no file at the
path of a LOCK; 71 the operating system refused something.

Examples:
  holdlock list                   all locks of the host
  holdlock list /var/lib/dpkg     only locks below this directory
  holdlock list --waiting         only files with waiters

`holdlock list --help` has the details.",
};

const AFTER: &str = "\
Prints one line for each lock that is held, whatever program holds it, and below it
one for each request that waits, in the order of service. A command line is that of
the job, not of the `holdlock run` or flock(1) around it.

LOCK is a name such as `backup`, for a file in your lock directory, or a path, which
is anything with a slash. The URL of a database, postgres://host/database, lists all
locks there of all hosts, and postgres://host/database#name one of them.

Columns for -o, in any order and separated by commas:
  pid        the process that holds the lock, or that waits for it
  user, uid  its user
  host       of the process, for locks between hosts
  state      `held`, or `waits N`: requests with a lower N are served first
  mode       exclusive or shared
  kind       flock, ofd, posix; lease, which is no lock; or the engine (postgres)
  range      the bytes that are locked; `all` is the whole file, `slot 2` a slot
  slot       the number of the slot (run --slots)
  start      the first of these bytes
  end        the last of them; EOF is the end of the file, however long it is
  started    how long the process has been running; the kernel does not record when a
             lock was acquired
  held       for how long the lock is held, if it has a record (`holdlock run`)
  note       why it is held, from the record
  token      a number that is higher for each later holder, from the record
  lease      how long the engine keeps the lock of a silent host, if it knows
  path       followed by `(removed)`, or by `(elsewhere)` for a file in another mount
             namespace, such as a container's; the mount point and dots, if only the
             mount point is known
  command    what the process runs
  process    its state, such as sleeping or stopped
  fd         the descriptor by which it has the file open
  taker      the process that acquired the lock, which may have ended since
  holders    all processes that hold the lock; some may have inherited the open file
  blocker    the first process whose lock a request waits for
  size       of the file, in bytes
  device     major and minor number, as /proc/locks has it
  inode      of the file
  container  in which the process runs, if its control group names one
  cgroup     the control group of the process
`-` means unknown, or not applicable.

If the terminal is too narrow, `list` leaves out columns with the same value in each
line, then other columns; it shortens paths in their middle and cuts the last column.
With -o it leaves out no column. Output to a file or pipe is complete.

Only root sees everything; standard error reports what could not be seen.

--json prints one document:
  version, unseen[] (sentences)
  files[]: path, removed (another file is at the path, or no file), elsewhere (in
    another mount namespace), mount_point, place: device, inode;
    mixes_families (flock and fcntl, which do not exclude each other), record
  files[].slots (how many, or null); files[].locks[]: kind, mode, slot (or null),
    range: start, end; taker, inherited,
    holders[]: descriptor, process,
    inherited (the process did not acquire the lock itself)
  files[].waiters[]: kind, mode, range, for_slot, turn, descriptor, process
  process: PROCESS_FIELDS
  record: RECORD_FIELDS
  ENGINE_FIELDS

Exit codes:
   0  done, also when there are no locks
  64  wrong usage, or a user that does not exist
  66  there is no file at the path of a LOCK
  69  the engine of a URL does not answer
  71  the operating system refused something
  73  the lock directory of a name is not safe (see `holdlock path --help`)
  77  the engine refuses the login
  78  the engine is no safe place for a lock

Examples:
  holdlock list                             all locks of the host
  holdlock list backup                      only this lock
  holdlock list /var/lib/dpkg               only locks below this directory
  holdlock list --waiting                   only files with waiters
  holdlock list postgres://db/app           all locks that this database keeps
  holdlock list -n -o pid,path --user ann   for a script
  holdlock list --json | jq '.files[].path'   for a program";

pub(super) fn command() -> Command {
    Command::new("list")
        .bin_name("holdlock list")
        .about("List all locks of the host, their holders and waiters")
        .after_help(
            AFTER
                .replace("PROCESS_FIELDS", PROCESS_FIELDS)
                .replace("RECORD_FIELDS", held::FIELDS)
                .replace("ENGINE_FIELDS", ENGINE_FIELDS),
        )
        .args(filters())
        .args(form())
}

/// The options that choose locks.
fn filters() -> [Arg; 6] {
    [
        Arg::new("LOCK")
            .num_args(0..)
            .value_hint(ValueHint::AnyPath)
            .value_parser(value_parser!(OsString))
            .help("Show only this lock (name, path, URL), or all below this directory or URL"),
        Arg::new("pid")
            .short('p')
            .long("pid")
            .value_name("PID")
            .action(ArgAction::Append)
            .value_parser(number::pid)
            .help("Show only what this process holds or waits for; may be repeated"),
        Arg::new("user")
            .long("user")
            .value_name("USER")
            .action(ArgAction::Append)
            .value_hint(ValueHint::Username)
            .help("Show only locks of this user (name or number); may be repeated"),
        Arg::new("kind")
            .long("kind")
            .visible_alias("family")
            .value_name("KIND")
            .action(ArgAction::Append)
            .value_parser(PossibleValuesParser::new([
                "flock", "ofd", "posix", "lease",
            ]))
            .hide_possible_values(true)
            .help("Show only this kind: flock, ofd, posix or lease; may be repeated"),
        Arg::new("waiting")
            .long("waiting")
            .action(ArgAction::SetTrue)
            .help("Show only files with waiters"),
        super::system(),
    ]
}

/// The options for the form of the list.
fn form() -> [Arg; 4] {
    [
        Arg::new("output")
            .short('o')
            .long("output")
            .value_name("COLUMNS")
            .value_delimiter(',')
            .ignore_case(true)
            .hide_possible_values(true)
            .value_parser(PossibleValuesParser::new(Column::names()))
            .help("Show these columns"),
        Arg::new("output-all")
            .long("output-all")
            .action(ArgAction::SetTrue)
            .conflicts_with("output")
            .help("Show all columns"),
        Arg::new("no-headings")
            .short('n')
            .long("no-headings")
            .alias("noheadings")
            .action(ArgAction::SetTrue)
            .help("Print no line of headings"),
        Arg::new("json")
            .long("json")
            .short('J')
            .action(ArgAction::SetTrue)
            .conflicts_with_all(["output", "output-all", "no-headings"])
            .help("Print one JSON document instead of the table"),
    ]
}

/// Parses the words after `list`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches_with(command(), &BRIEF, words)?;
    let chosen: Vec<String> = all(&mut matches, "output");
    let form = if matches.get_flag("json") {
        Form::Json
    } else {
        let columns = match chosen.as_slice() {
            [] if matches.get_flag("output-all") => Some(Column::ALL.to_vec()),
            [] => None,
            names => Some(
                names
                    .iter()
                    .filter_map(|name| Column::named(name))
                    .collect(),
            ),
        };
        Form::Table {
            columns,
            headings: !matches.get_flag("no-headings"),
        }
    };
    Ok(Settings {
        filter: Filter {
            names: super::names(&matches),
            locks: all(&mut matches, "LOCK"),
            pids: all(&mut matches, "pid"),
            users: all(&mut matches, "user"),
            kinds: all(&mut matches, "kind"),
            waiting: matches.get_flag("waiting"),
        },
        form,
    })
}

fn all<T: Clone + Send + Sync + 'static>(matches: &mut ArgMatches, name: &str) -> Vec<T> {
    matches.remove_many(name).into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn every_column_is_explained() {
        let explained: Vec<&str> = AFTER
            .lines()
            .skip_while(|line| !line.starts_with("Columns"))
            .take_while(|line| !line.starts_with('`'))
            .flat_map(|line| line.split([' ', ',']))
            .collect();
        for name in Column::names() {
            assert!(explained.contains(&name), "{name}");
        }
    }

    #[test]
    fn columns_come_in_the_order_that_was_asked_for() {
        let parsed = parse(["-o", "path,PID", "-n"].iter().map(Into::into)).unwrap();
        let Form::Table { columns, headings } = parsed.form else {
            panic!("a table was asked for")
        };
        assert_eq!(columns, Some(vec![Column::Path, Column::Pid]));
        assert!(!headings);
        for words in [&["-o", "x"][..], &["--json", "-n"], &["--pid", "x"]] {
            let refused = parse(words.iter().map(Into::into));
            assert_eq!(refused.err().map(|failure| failure.code), Some(64));
        }
    }
}
