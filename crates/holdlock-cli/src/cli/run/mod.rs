//! `holdlock run`.

mod help;
mod options;

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgGroup, ArgMatches, Command, value_parser};
use holdlock::Mode;

use crate::exit::{CONFLICT, Failure, SUCCESS};
use crate::run::{Duties, IfAbandoned, Keep, Memory, OnLost, Patience, Progress, Settings};
use help::{AFTER, BRIEF, TEMPLATE, USAGE};
use options::{acquiring, keeping, remembering, telling};

pub(super) fn command() -> Command {
    Command::new("run")
        .bin_name("holdlock run")
        .about("Run a command while holding a lock")
        .override_usage(USAGE)
        .help_template(TEMPLATE)
        .after_help(AFTER)
        .args(acquiring())
        .args(keeping())
        .group(
            ArgGroup::new("ending")
                .args(["max-hold", "tree"])
                .multiple(true),
        )
        .args(remembering())
        .args(telling())
        // One list for LOCK and COMMAND: clap does not examine the words after the first one, so
        // COMMAND keeps its options.
        .arg(
            Arg::new("words")
                .hide(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString)),
        )
}

/// The time from TERM to KILL without --kill-after.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// Parses the words after `run`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches_with(command(), &BRIEF, words)?;
    let mut words = many(&mut matches, "words");
    let mut locks = many(&mut matches, "lock");
    if locks.is_empty() {
        if words.is_empty() {
            return Err(super::misused(command(), "no LOCK and no COMMAND given"));
        }
        locks.push(words.remove(0));
        if words.first().is_some_and(|word| word == "--") {
            words.remove(0);
        }
    }
    if words.is_empty() {
        let message = format!(
            "no COMMAND given to run under the lock {}",
            crate::show::text::path(&locks[0])
        );
        return Err(super::misused(command(), &message));
    }
    let program = words.remove(0);
    let skip = matches.get_flag("skip");
    let patience = match matches.remove_one::<Duration>("timeout") {
        Some(limit) => Patience::For(limit),
        None if skip || matches.get_flag("no-wait") => Patience::None,
        None => Patience::Endless,
    };
    let conflict = if skip { SUCCESS } else { CONFLICT };
    Ok(Settings {
        mode: if matches.get_flag("shared") {
            Mode::Shared
        } else {
            Mode::Exclusive
        },
        names: super::names(&matches),
        fair: matches.get_flag("fair"),
        slots: matches.remove_one("slots"),
        reentrant: matches.get_flag("reentrant"),
        patience,
        conflict: matches.remove_one("conflict").unwrap_or(conflict),
        quiet: skip || matches.get_flag("quiet"),
        progress: progress(&mut matches),
        keep: keep(&mut matches),
        close: matches.get_flag("close"),
        on_lost: match matches.remove_one::<String>("on-lost").as_deref() {
            Some("kill") => OnLost::Kill,
            Some("warn") => OnLost::Warn,
            _ => OnLost::Term,
        },
        log: matches.remove_one("log"),
        memory: memory(&mut matches),
        locks,
        program,
        arguments: words,
    })
}

fn many(matches: &mut ArgMatches, name: &str) -> Vec<OsString> {
    let values = matches.remove_many::<OsString>(name);
    values.into_iter().flatten().collect()
}

fn progress(matches: &mut ArgMatches) -> Progress {
    match matches.remove_one::<String>("progress").as_deref() {
        Some("always") => Progress::Always,
        Some("never") => Progress::Never,
        _ => Progress::Auto,
    }
}

fn memory(matches: &mut ArgMatches) -> Memory {
    let action = matches.remove_one::<OsString>("if-abandoned");
    Memory {
        // Perhaps the name of a file, in whatever encoding.
        note: matches
            .remove_one::<OsString>("note")
            .map(|note| note.to_string_lossy().into_owned()),
        if_abandoned: action.map(|action| match action.to_str() {
            Some("run") => IfAbandoned::Run,
            Some("fail") => IfAbandoned::Fail,
            _ => IfAbandoned::Clean(action),
        }),
        at_most_every: matches.remove_one("at-most-every"),
    }
}

fn keep(matches: &mut ArgMatches) -> Keep {
    if matches.get_flag("exec") {
        return Keep::Replaced;
    }
    Keep::Supervised(Duties {
        max_hold: matches.remove_one("max-hold"),
        kill_after: matches.remove_one("kill-after").unwrap_or(KILL_AFTER),
        tree: matches.get_flag("tree"),
    })
}

#[cfg(test)]
mod tests;
