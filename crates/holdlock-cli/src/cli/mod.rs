//! The command line: one file per subcommand, each building only its own parser.

pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
#[cfg(feature = "engines")]
pub(crate) mod engine;
mod flock;
pub(crate) mod graph;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod path;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod top;
pub(crate) mod torture;
pub(crate) mod wait;
pub(crate) mod who;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::exit::{self, Failure, Outcome};
use crate::lockdir::Names;
use crate::show::{output, text};

const ABOUT: &str = "Run commands one at a time under a lock, and see which process holds it.";

const AFTER: &str = "\
Examples:
  holdlock demo                                  see what a lock is for
  holdlock run backup -- rsync -a /srv /mnt      run at most one backup at a time
  holdlock run -n nightly -- ./job.sh            give up if it is running already
  holdlock who backup                            show its holder, and the waiting processes
  holdlock top                                   show all locks of the host, live
  holdlock doctor /srv/data/                     check whether locks work there
  holdlock run postgres://db/app#job -- ./job    one of all hosts at a time
  holdlock torture /srv/data/                    try to break locks there

`holdlock SUBCOMMAND --help` has the details and the exit codes.";

/// `holdlock` without a known subcommand: help, version, or a usage error.
pub(crate) fn top_level(words: impl Iterator<Item = OsString>) -> Outcome {
    // A known subcommand gets here only as `holdlock help run`, which clap prints.
    matches(tree(), words).map(|_| exit::SUCCESS)
}

/// The command with all its subcommands: for help, completions and manual pages.
fn tree() -> Command {
    let tree = Command::new("holdlock")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .subcommand_required(true)
        .subcommand(run::command())
        .subcommand(who::command())
        .subcommand(wait::command())
        .subcommand(list::command())
        .subcommand(top::command())
        .subcommand(graph::command())
        .subcommand(doctor::command())
        .subcommand(torture::command())
        .subcommand(report::command())
        .subcommand(demo::command())
        .subcommand(path::command())
        .subcommand(flock::command())
        .subcommand(completions::command())
        .subcommand(man::command());
    #[cfg(feature = "engines")]
    let tree = tree.subcommand(engine::command());
    tree
}

/// `--system`
fn system() -> Arg {
    Arg::new("system")
        .long("system")
        .action(ArgAction::SetTrue)
        .help("Use the names that all users share, not your own")
}

fn names(matches: &ArgMatches) -> Names {
    if matches.get_flag("system") {
        Names::System
    } else {
        Names::Own
    }
}

/// A short help for `-h`, for subcommands whose `--help` fills more than a screen.
struct Brief {
    /// The options that are in it.
    common: &'static [&'static str],
    /// The text below them.
    after: &'static str,
}

impl Brief {
    fn of(&self, command: Command) -> Command {
        let is_left_out =
            |arg: &Arg| !arg.is_positional() && !self.common.contains(&arg.get_id().as_str());
        let command = command.mut_args(|arg| {
            let hidden = arg.is_hide_set() || is_left_out(&arg);
            arg.hide(hidden)
        });
        command.after_help(self.after)
    }
}

/// The same as [`matches`], with a short help.
fn matches_with(
    command: Command,
    brief: &Brief,
    words: impl Iterator<Item = OsString>,
) -> Result<ArgMatches, Failure> {
    let words: Vec<OsString> = words.collect();
    let long = words.iter().any(|word| word == "--help");
    parse(command.clone(), words).map_err(|error| {
        if error.kind() == ErrorKind::DisplayHelp && !long {
            print(&brief.of(command).render_help().to_string())
        } else {
            answer(error)
        }
    })
}

/// Parses the words, and turns clap's answers into ours: help on stdout, errors as our messages. If
/// an option is given twice, the last one counts, so that a script can override an option of its
/// caller.
fn matches(command: Command, words: impl Iterator<Item = OsString>) -> Result<ArgMatches, Failure> {
    parse(command, words.collect()).map_err(answer)
}

fn parse(command: Command, words: Vec<OsString>) -> Result<ArgMatches, clap::Error> {
    let mut command = command.args_override_self(true);
    // clap skips the first word, the program's name.
    let words: Vec<OsString> = std::iter::once(OsString::new()).chain(words).collect();
    command.try_get_matches_from_mut(&words).map_err(|error| {
        // The message quotes words: a line break in a word must not begin a line of our message.
        let shown = words.iter().map(text::path);
        let again = command.try_get_matches_from_mut(shown);
        again.err().unwrap_or(error)
    })
}

fn answer(error: clap::Error) -> Failure {
    let answer = error.to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => print(&answer),
        _ => {
            let mut lines = answer.strip_prefix("error: ").unwrap_or(&answer).lines();
            let mut failure = Failure::usage(lines.next().unwrap_or_default());
            failure.more = lines.map(|line| text::printable(line) + "\n").collect();
            failure
        }
    }
}

/// Prints the help that was asked for, and ends the program with success.
fn print(text: &str) -> Failure {
    let failure = output::print(text).err();
    failure.unwrap_or_else(|| Failure::new(exit::SUCCESS, ""))
}

/// A usage error that clap's rules cannot express, with clap's usage line.
fn misused(mut command: Command, message: &str) -> Failure {
    answer(command.error(ErrorKind::MissingRequiredArgument, message))
}
