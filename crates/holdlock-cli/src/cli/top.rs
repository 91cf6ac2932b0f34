//! `holdlock top`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, value_parser};

use crate::exit::Failure;
use crate::top::{SHORTEST, Settings};

const AFTER: &str = "\
All locks of the host, of whatever program, those first for which most wait. `>` before a
time: nobody can tell when a wait began; it is seen for so long.

Keys:
  Up Down PgUp PgDn Home End   choose (also k and j)
  Enter    the queue of the chosen file: who holds the lock, who waits in which order
  g        who waits for whom, and deadlocks, of the locks in the list
  Esc      back; from the list: quit
  < >      sort by the column before or after; r: the other way round
  /        show only what has this text: in path, command, user or pid
  w        show only locks for which somebody waits
  Space    pause; again: go on
  + -      refresh more or less often (also d)
  ?        these keys
  q        quit (also Ctrl-C)

Exit codes:
   0  quit
  64  wrong usage; no terminal
  71  the operating system refused something

Examples:
  holdlock top                         look
  holdlock top -i 5s                   on a slow line
  sudo holdlock top                    see the locks of all users by path
  holdlock top --once --size 120x40    one picture, as text";

pub(super) fn command() -> Command {
    Command::new("top")
        .bin_name("holdlock top")
        .about("Who holds locks and who waits for them, live")
        .after_help(AFTER)
        .args([
            Arg::new("interval")
                .short('i')
                .long("interval")
                .value_name("DURATION")
                .default_value("1s")
                .value_parser(interval)
                .help("How often to look, from 100ms"),
            Arg::new("once")
                .long("once")
                .action(ArgAction::SetTrue)
                .help("Print what would be seen, as text, and end"),
            Arg::new("size")
                .long("size")
                .value_name("COLUMNSxROWS")
                .requires("once")
                .value_parser(size)
                .help("How large --once prints it [default: like the terminal, or 80x24]"),
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
    let mut matches = super::matches(command(), words)?;
    Ok(Settings {
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
        .ok_or_else(|| "it is columns and rows, such as 80x24, 1000x1000 at most".into())
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
