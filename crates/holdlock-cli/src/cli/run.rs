//! `holdlock run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, value_parser};
use holdlock::Mode;

use crate::duration;
use crate::exit::{CONFLICT, Failure};
use crate::run::{Patience, Settings};

const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

Arguments:
  LOCK     A name such as `backup`, for a file in your lock directory (`holdlock
           path backup` prints it); or a path, which is anything with a slash.
           The file is created when missing, never written and never removed
  COMMAND  What to run, and its arguments. Options of holdlock go before LOCK

Options:
{options}{after-help}";

const AFTER: &str = "\
DURATION is in seconds (5, 0.5) or has units: 500ms, 90s, 2m, 1h30m, 1d.

The lock is released when COMMAND ends, or when holdlock dies, however it dies.
What COMMAND leaves running in the background does not keep the lock.
SIGTERM and SIGHUP are passed on to COMMAND.

Exit codes:
  the exit code of COMMAND, or 128+n when signal n ended it; else
   64  wrong usage
   65  waiting would be a deadlock
   66  the lock file cannot be opened
   71  the operating system refused something
   73  the lock file cannot be created
   75  somebody else holds the lock (-n), still holds it (-w); see -E
  126  COMMAND cannot be executed
  127  COMMAND is not found

Examples:
  holdlock run backup -- rsync -a /srv /mnt   wait for our turn, then run
  holdlock run -n nightly -- ./job.sh         give up at once when it is running
  holdlock run -w 30s -E 0 ./x.lock -- make   wait half a minute; giving up is fine
  holdlock run -s data -- ./report            together with other readers";

pub(super) fn command() -> Command {
    Command::new("run")
        .bin_name("holdlock run")
        .about("Run a command while holding a lock")
        .override_usage("holdlock run [OPTIONS] LOCK [--] COMMAND [ARG]...")
        .help_template(TEMPLATE)
        .after_help(AFTER)
        .arg(
            Arg::new("shared")
                .short('s')
                .long("shared")
                .action(ArgAction::SetTrue)
                .help("Share the lock with other shared holders; exclude exclusive ones"),
        )
        .arg(
            Arg::new("no-wait")
                .short('n')
                .long("no-wait")
                .action(ArgAction::SetTrue)
                .conflicts_with("timeout")
                .help("Give up at once when somebody else holds the lock"),
        )
        .arg(
            Arg::new("timeout")
                .short('w')
                .long("timeout")
                .value_name("DURATION")
                .allow_hyphen_values(true)
                .value_parser(duration::parse)
                .help("Give up when the lock has not come after this long"),
        )
        .arg(
            Arg::new("conflict")
                .short('E')
                .long("conflict-exit-code")
                .value_name("CODE")
                .allow_hyphen_values(true)
                .value_parser(value_parser!(u8))
                .help("Exit code for giving up, 0 to 255 [default: 75]"),
        )
        // One list for LOCK and COMMAND: what follows its first word is not
        // looked at any more, so that COMMAND keeps its options.
        .arg(
            Arg::new("words")
                .hide(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString)),
        )
}

/// Parses the words after `run`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches(command(), words)?;
    let mut words = matches
        .remove_many::<OsString>("words")
        .into_iter()
        .flatten();
    let lock = words
        .next()
        .ok_or_else(|| super::misused(command(), "no LOCK and no COMMAND given"))?;
    let mut arguments: Vec<OsString> = words.collect();
    if arguments.first().is_some_and(|word| word == "--") {
        arguments.remove(0);
    }
    if arguments.is_empty() {
        let message = format!("no COMMAND given to run under the lock {}", lock.display());
        return Err(super::misused(command(), &message));
    }
    let program = arguments.remove(0);
    let patience = match matches.remove_one::<Duration>("timeout") {
        Some(limit) => Patience::For(limit),
        None if matches.get_flag("no-wait") => Patience::None,
        None => Patience::Endless,
    };
    Ok(Settings {
        mode: if matches.get_flag("shared") {
            Mode::Shared
        } else {
            Mode::Exclusive
        },
        patience,
        conflict: matches.remove_one("conflict").unwrap_or(CONFLICT),
        lock,
        program,
        arguments,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Settings, Failure> {
        parse(words.iter().map(Into::into))
    }

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn options_end_at_the_lock() {
        let settings = parsed(&["-s", "-E", "3", "L", "cmd", "-n", "--", "-E", "--help"]).unwrap();
        assert_eq!((settings.mode, settings.conflict), (Mode::Shared, 3));
        assert_eq!(
            (settings.lock, settings.program),
            ("L".into(), "cmd".into())
        );
        assert_eq!(settings.arguments, ["-n", "--", "-E", "--help"]);
        assert!(matches!(settings.patience, Patience::Endless));
    }

    #[test]
    fn one_double_dash_after_the_lock_is_dropped() {
        let settings = parsed(&["L", "--", "--", "x"]).unwrap();
        assert_eq!(settings.program, "--");
        assert_eq!(settings.arguments, ["x"]);
        let settings = parsed(&["--", "-L", "--", "x"]).unwrap();
        assert_eq!((settings.lock, settings.program), ("-L".into(), "x".into()));
    }

    #[test]
    fn misuse_is_a_usage_error_with_a_reason() {
        for (words, reason) in [
            (&[][..], "no LOCK"),
            (&["L"], "no COMMAND"),
            (&["L", "--"], "no COMMAND"),
            (&["-x", "L", "true"], "-x"),
            (&["-w", "-1", "L", "true"], "negative"),
            (&["-w", "", "L", "true"], "empty"),
            (&["-w", "nan", "L", "true"], "not a duration"),
            (&["-E", "256", "L", "true"], "256"),
            (&["-E", "-1", "L", "true"], "-1"),
            (&["-n", "-w", "1", "L", "true"], "cannot be used with"),
        ] {
            let Err(failure) = parsed(words) else {
                panic!("{words:?} was accepted")
            };
            assert_eq!(failure.code, crate::exit::USAGE, "{words:?}");
            assert!(
                failure.message.contains(reason),
                "{words:?}: {}",
                failure.message
            );
        }
    }
}
