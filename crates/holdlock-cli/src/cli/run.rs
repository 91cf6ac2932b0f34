//! `holdlock run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use holdlock::Mode;

use crate::duration;
use crate::exit::{CONFLICT, Failure, SUCCESS};
use crate::run::{Duties, Keep, Patience, Progress, Settings};

const USAGE: &str = "holdlock run [OPTIONS] LOCK [--] COMMAND [ARG]...
       holdlock run [OPTIONS] --lock LOCK [--lock LOCK]... [--] COMMAND [ARG]...";

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

The lock is held until COMMAND has ended by itself, and not longer: what it leaves
running in the background does not keep it, unless --tree or --exec says so. When a
signal has ended COMMAND, or holdlock itself (KILL), what is left of the job may be
in the middle of its work, and keeps the lock until it is gone: it has inherited
it. holdlock says who that is, and stays for what has not (see --close).

Signals: INT, TERM, HUP, QUIT, USR1, USR2, CONT, TSTP and WINCH that somebody
sends to holdlock are passed on to COMMAND; what the terminal sends (Ctrl-C,
Ctrl-Z) reaches it anyway. With --tree a second TERM ends everything that COMMAND
has started. When holdlock is killed (KILL), COMMAND gets TERM; not what it has
started, and not a program that runs with other rights than its caller (set-uid).

--max-hold sends TERM to COMMAND and everything that it has started, background
and daemons included, and KILL after --kill-after until nothing is left; also when
the job was stopped (Ctrl-Z).

Several locks are taken in an order of their own, the same for everybody, so
nobody waits in a cycle; -w is for all of them together.

A command that is started under a lock and waits for the same lock would wait for
ever: that ends with 65, also when it runs in the background. Detach what really
is to run later (setsid -f).

Exit codes:
  the exit code of COMMAND, or 128+n when signal n ended it (of INT and QUIT
  holdlock dies as well, so that Ctrl-C ends a script); else
   64  wrong usage
   65  waiting would be a deadlock: what started this command holds the lock,
       or holdlock commands wait for each other's locks in a cycle
   66  the lock file cannot be opened
   71  the operating system refused something
   73  the lock file or the log cannot be created
   75  somebody else holds the lock (-n), still holds it (-w); see -E, --skip
  124  COMMAND held the lock longer than --max-hold and was ended
  126  COMMAND cannot be executed
  127  COMMAND is not found

Examples:
  holdlock run backup -- rsync -a /srv /mnt   wait for our turn, then run
  holdlock run --skip nightly -- ./job.sh     cron: not when it is still running
  holdlock run -n nightly -- ./job.sh         give up at once when it is running
  holdlock run -w 30s -E 0 ./x.lock -- make   wait half a minute; giving up is fine
  holdlock run -s data -- ./report            together with other readers
  holdlock run --max-hold 1h sync -- ./sync   a hung one does not block the next
  holdlock run --lock a --lock b -- ./move    both, or none";

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
        .args(telling())
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

/// Which locks, how, and how long to wait.
fn acquiring() -> [Arg; 7] {
    [
        flag(
            "shared",
            "Share the lock with other shared holders; exclude exclusive ones",
        )
        .short('s'),
        flag(
            "fair",
            "Queue behind all that came before with --fair: no reader passes a writer",
        ),
        flag(
            "no-wait",
            "Give up at once when somebody else holds the lock",
        )
        .short('n')
        .conflicts_with("timeout"),
        duration(
            "timeout",
            "Give up when the lock has not come after this long",
        )
        .short('w'),
        Arg::new("conflict")
            .short('E')
            .long("conflict-exit-code")
            .value_name("CODE")
            .allow_hyphen_values(true)
            .value_parser(value_parser!(u8))
            .help("Exit code for giving up, 0 to 255 [default: 75]"),
        flag(
            "skip",
            "Do nothing, silently and with exit code 0, when the lock is taken",
        )
        .conflicts_with("conflict"),
        Arg::new("lock")
            .long("lock")
            .value_name("LOCK")
            .action(ArgAction::Append)
            .value_parser(value_parser!(OsString))
            .help("Take this lock; may be repeated. All further words are COMMAND then"),
    ]
}

/// What becomes of the command, and of the lock while it runs.
fn keeping() -> [Arg; 5] {
    [
        duration(
            "max-hold",
            "End COMMAND and all it has started when it has held the lock this long",
        )
        .value_parser(longer_than_nothing),
        duration(
            "kill-after",
            "End them with KILL this long after TERM [default: 10s]",
        )
        .requires("ending"),
        flag(
            "tree",
            "Hold the lock until everything that COMMAND has started has ended",
        ),
        flag(
            "close",
            "Do not let COMMAND inherit the lock, as with flock -o",
        )
        .short('o'),
        flag(
            "exec",
            "Become COMMAND, which then has the lock itself, with all that inherit it",
        )
        .conflicts_with_all(["max-hold", "tree", "close", "log"]),
    ]
}

/// What is said about it.
fn telling() -> [Arg; 3] {
    [
        flag("quiet", "Say nothing about waiting and giving up").short('q'),
        Arg::new("progress")
            .long("progress")
            .value_name("WHEN")
            .value_parser(["auto", "always", "never"])
            .hide_possible_values(true)
            .help("Tell about a wait while it lasts: auto, always, never [default: auto]"),
        Arg::new("log")
            .long("log")
            .value_name("FILE")
            .value_parser(value_parser!(OsString))
            .help("Append a line of JSON about this run to FILE (- is standard error)"),
    ]
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn duration(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("DURATION")
        .allow_hyphen_values(true)
        .value_parser(duration::parse)
        .help(help)
}

fn longer_than_nothing(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("a command needs some time".into()),
        some => Ok(some),
    }
}

/// From TERM to KILL, where nothing else is asked for.
const KILL_AFTER: Duration = Duration::from_secs(10);

/// Parses the words after `run`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let mut matches = super::matches(command(), words)?;
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
        fair: matches.get_flag("fair"),
        patience,
        conflict: matches.remove_one("conflict").unwrap_or(conflict),
        quiet: skip || matches.get_flag("quiet"),
        progress: progress(&mut matches),
        keep: keep(&mut matches),
        close: matches.get_flag("close"),
        log: matches.remove_one("log"),
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
#[path = "run_tests.rs"]
mod tests;
