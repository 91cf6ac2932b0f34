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
  COMMAND  The command and its arguments. Options of holdlock go before LOCK

Options:
{options}{after-help}";

const BRIEF: super::Brief = super::Brief {
    common: &[
        "shared", "no-wait", "timeout", "skip", "lock", "max-hold", "tree", "quiet", "log",
    ],
    after: "\
DURATION is in seconds (5, 0.5) or has units: 500ms, 90s, 2m, 1h30m, 1d.

Exit codes: that of COMMAND; 75 the lock is held (-n) or still held (-w); 64 to 73 no
lock, nothing was run; 124 --max-hold; 126 and 127 COMMAND cannot be run.

Examples:
  holdlock run backup -- rsync -a /srv /mnt   wait for our turn, then run
  holdlock run --skip nightly -- ./job.sh     cron: not while it is still running
  holdlock run -w 30s ./x.lock -- make        wait for half a minute at most

`holdlock run --help` tells more, with all options.",
};

const AFTER: &str = "\
DURATION is in seconds (5, 0.5) or has units: 500ms, 90s, 2m, 1h30m, 1d.

The lock is held until COMMAND has ended by itself, and no longer: processes that it
leaves in the background do not keep the lock, unless --tree or --exec says so. When a
signal has ended COMMAND, or holdlock itself (KILL), the rest of the job may be in the
middle of its work. It has inherited the lock and keeps it until it has ended. holdlock
names it, and stays for processes that have not inherited the lock (see --close).

Signals: INT, TERM, HUP, QUIT, USR1, USR2, CONT, TSTP and WINCH that a process sends
to holdlock are passed on to COMMAND; signals of the terminal (Ctrl-C, Ctrl-Z) reach
it anyway. With --tree a second TERM ends everything that COMMAND has started. When
holdlock is killed (KILL), COMMAND gets TERM; the processes that it has started do not,
nor does a program that runs with other rights than its caller (set-uid).

--max-hold sends TERM to COMMAND and everything that it has started, background
and daemons included, and KILL after --kill-after until nothing is left; also when
the job was stopped (Ctrl-Z).

Several locks are acquired all or none. While holdlock waits for one of them it holds
none of the others, so that no cycle of waits comes about. -w is for all together.

A command that is started under a lock and waits for the same lock would wait for
ever: that ends with 65, also when it runs in the background. Detach a job that is to
run later (setsid -f). With --reentrant it runs at once instead, where it has inherited
the exclusive lock from the holdlock that waits for it; the lock then ends with the
outer COMMAND.

Progress: on a terminal, one line from half a second on, with the holder and the place
in the queue. Elsewhere lines after 5 seconds, 1 minute, 2, 4, 8 minutes and so on, and
a last one when the lock was acquired; with --progress always the first one after half
a second. --progress never or -q: none.

Exit codes:
  the exit code of COMMAND, or 128+n when signal n ended it (of INT and QUIT
  holdlock dies as well, so that Ctrl-C ends a script); else
   64  wrong usage
   65  waiting would be a deadlock: the process that started this command holds the
       lock, or holdlock commands wait for each other's locks in a cycle
   66  the lock file cannot be opened
   71  the operating system refused something
   73  the lock file or the log cannot be created
   75  another process holds the lock (-n), still holds it (-w); see -E, --skip
  124  COMMAND held the lock longer than --max-hold and was ended
  126  COMMAND cannot be executed
  127  COMMAND is not found

Examples:
  holdlock run backup -- rsync -a /srv /mnt   wait for our turn, then run
  holdlock run --skip nightly -- ./job.sh     cron: not while it is still running
  holdlock run -n nightly -- ./job.sh         give up at once while it is running
  holdlock run -w 30s -E 0 ./x.lock -- make   wait half a minute; giving up is fine
  holdlock run -s data -- ./report            together with other readers
  holdlock run --max-hold 1h sync -- ./sync   a hung one does not block the next
  holdlock run --lock a --lock b -- ./move    both, or none
  holdlock run --system disk -- ./check       a name that all users share";

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
        // One list for LOCK and COMMAND: clap does not look at the words after its first, so that
        // COMMAND keeps its options.
        .arg(
            Arg::new("words")
                .hide(true)
                .num_args(1..)
                .trailing_var_arg(true)
                .value_parser(value_parser!(OsString)),
        )
}

/// Which locks, how, and how long to wait.
fn acquiring() -> [Arg; 9] {
    [
        flag(
            "shared",
            "Share the lock with other shared holders; exclude exclusive ones",
        )
        .short('s'),
        flag(
            "fair",
            "Queue behind all earlier requests with --fair: no reader passes a writer",
        ),
        flag(
            "no-wait",
            "Give up at once if another process holds the lock",
        )
        .short('n')
        .conflicts_with("timeout"),
        duration(
            "timeout",
            "Give up if the lock is not acquired within DURATION",
        )
        .short('w'),
        Arg::new("conflict")
            .short('E')
            .long("conflict-exit-code")
            .value_name("CODE")
            .allow_hyphen_values(true)
            .value_parser(exit_code)
            .help("Exit code for giving up, 0 to 255 [default: 75]"),
        flag(
            "skip",
            "Do nothing, silently and with exit code 0, if the lock is held",
        )
        .conflicts_with("conflict"),
        Arg::new("lock")
            .long("lock")
            .value_name("LOCK")
            .action(ArgAction::Append)
            .value_parser(value_parser!(OsString))
            .help("Acquire this lock; may be repeated. All further words are COMMAND then"),
        super::system(),
        flag(
            "reentrant",
            "Run at once if this job holds the lock already, by what started it",
        )
        .conflicts_with_all(["exec", "shared"]),
    ]
}

/// What becomes of the command, and of the lock while it runs.
fn keeping() -> [Arg; 5] {
    [
        duration(
            "max-hold",
            "End COMMAND and all it has started once it has held the lock for DURATION",
        )
        .value_parser(longer_than_nothing),
        duration(
            "kill-after",
            "End them with KILL at DURATION after TERM [default: 10s]",
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
            "Become COMMAND, which then holds the lock itself, with all that inherit it",
        )
        .conflicts_with_all(["max-hold", "tree", "close", "log"]),
    ]
}

/// The messages and the log.
fn telling() -> [Arg; 3] {
    [
        flag("quiet", "Say nothing about waiting and giving up").short('q'),
        Arg::new("progress")
            .long("progress")
            .value_name("WHEN")
            .value_parser(["auto", "always", "never"])
            .hide_possible_values(true)
            .help("Report progress while waiting: auto, always, never [default: auto]"),
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

fn exit_code(text: &str) -> Result<u8, String> {
    let code = text.parse();
    code.map_err(|_| "an exit code is a number from 0 to 255".into())
}

fn longer_than_nothing(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("a command needs some time".into()),
        some => Ok(some),
    }
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
        reentrant: matches.get_flag("reentrant"),
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
