//! `holdlock top`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::engines;
use crate::exit::Failure;
use crate::show::text;
use crate::top::{SHORTEST, Settings};

const BRIEF: super::Brief = super::Brief {
    common: &["interval", "once"],
    after: "\
Keys: Enter queue, g graph, k signal, / filter, w waits, < > sort, Space pause, + - pace,
? all keys, q quit.

Exit codes: 0 quit; 64 wrong usage, or no terminal; 71 the operating system refused
something.

`holdlock top --help` has the details.",
};

const AFTER: &str = "\
Shows all locks of the host, whatever program holds them. The locks with most waiters
come first. The time of a wait is how long top has seen it, so it is a lower bound: the
kernel does not record when a wait began. With a URL it shows the locks that this engine
keeps, with the holders and waiters of all hosts; signals go only to processes of this
host that have a connection to this server.

Keys:
  Up Down PgUp PgDn Home End   choose a lock
  Enter    the queue of the chosen file: the holders, and the waiters in their order
  g        which process waits for which, and deadlocks, for the locks in the list
  k        send a signal to the holder; asks which signal, then whether to send it
  Esc      back; from the list: quit
  < >      sort by the column before or after; r: reverse the order
  /        show only locks with this text in path, command, user or pid
  w        show only locks with waiters
  Space    pause, or continue
  + -      refresh more or less often (also d)
  ?        these keys
  q        quit (also Ctrl-C)

Exit codes:
   0  quit
  64  wrong usage; no terminal
  69  the engine of the URL does not answer
  71  the operating system refused something
  77  the engine refuses the login
  78  the engine is no safe place for a lock

Examples:
  holdlock top                         look at all locks
  holdlock top postgres://db/app       the locks of a database, of all hosts
  holdlock top -i 5s                   look less often
  sudo holdlock top                    see the locks of all users by path
  holdlock top --once --size 120x40    print one picture as text";

pub(super) fn command() -> Command {
    Command::new("top")
        .bin_name("holdlock top")
        .about("Show holders and waiters live; send signals to holders")
        .after_help(AFTER)
        .args([
            Arg::new("URL")
                .value_hint(ValueHint::Url)
                .value_parser(value_parser!(OsString))
                .help("Show the locks of this database, of all hosts: postgres://host/database"),
            Arg::new("interval")
                .short('i')
                .long("interval")
                .value_name("DURATION")
                .default_value("1s")
                .value_parser(interval)
                .help("Look again after each DURATION, 100ms or longer"),
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Print one picture as text, and exit"),
            Arg::new("size")
                .long("size")
                .value_name("COLUMNSxROWS")
                .requires("once")
                .value_parser(size)
                .help("Size for --once [default: that of the terminal, or 80x24]"),
            // For the pictures of the documentation.
            Arg::new("press")
                .long("press")
                .value_name("KEYS")
                .requires("once")
                .hide(true)
                .value_parser(value_parser!(String))
                .help("Keys to press before --once prints"),
        ])
}

/// Parses the words after `top`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches_with(command(), &BRIEF, words)?;
    let engine: Option<OsString> = matches.remove_one("URL");
    if let Some(word) = &engine
        && !engines::is_url(word)
    {
        let word = text::path(word);
        let message = format!("{word} is no URL; without one, all locks of this host are shown");
        return Err(super::misused(command(), &message));
    }
    Ok(Settings {
        engine,
        interval: matches
            .remove_one("interval")
            .expect("clap has a default for it"),
        once: matches.get_flag("once"),
        size: matches.remove_one("size"),
        press: matches.remove_one("press").unwrap_or_default(),
    })
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = crate::duration::parse(text)?;
    if interval < SHORTEST {
        return Err("100ms is the shortest interval".into());
    }
    Ok(interval)
}

/// `80x24`
fn size(text: &str) -> Result<(u16, u16), String> {
    let parsed = text.split_once('x').and_then(|(columns, rows)| {
        let size = (columns.parse().ok()?, rows.parse().ok()?);
        (1..=1000).contains(&size.0).then_some(size)
    });
    parsed
        .filter(|size| (1..=1000).contains(&size.1))
        .ok_or_else(|| "give columns and rows, such as 80x24, up to 1000x1000".into())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_parser_is_consistent() {
        super::command().debug_assert();
    }

    #[test]
    fn sizes_are_columns_and_rows() {
        assert_eq!(super::size("80x24"), Ok((80, 24)));
        for wrong in ["80", "x", "0x5", "80x0", "80x24x1", "5000x5", "-1x5"] {
            assert!(super::size(wrong).is_err(), "{wrong}");
        }
    }
}
