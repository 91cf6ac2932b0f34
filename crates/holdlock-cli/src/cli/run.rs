//! `holdlock run`.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use holdlock::{Mode, Semaphore};

use crate::duration;
use crate::exit::{CONFLICT, Failure, SUCCESS};
use crate::run::{
    Duties, IfAbandoned, Interval, Keep, Memory, OnLost, Patience, Progress, Settings,
};

const USAGE: &str = "holdlock run [OPTIONS] LOCK [--] COMMAND [ARG]...
       holdlock run [OPTIONS] --lock LOCK [--lock LOCK]... [--] COMMAND [ARG]...";

const TEMPLATE: &str = "\
{about}

{usage-heading} {usage}

Arguments:
  LOCK     A name such as `backup`, for a file in your lock directory (`holdlock
           path backup` prints its path); a path, which is anything with a slash;
           or the URL of a lock between hosts. A missing file is created, and never
           removed. Only an empty file gets a record (see below); other content is
           never written
  COMMAND  The command and its arguments. Options of holdlock go before LOCK

Options:
{options}{after-help}";

const BRIEF: super::Brief = super::Brief {
    common: &[
        "shared", "no-wait", "timeout", "skip", "lock", "max-hold", "tree", "quiet", "log",
    ],
    after: "\
DURATION is in seconds (5, 0.5) or has units: 500ms, 90s, 2m, 1h30m, 1d.

Exit codes: that of COMMAND; 75 the lock is held (-n) or still held (-w); 64 to 73, 77
and 78 no lock, nothing was run; 124 --max-hold; 126 and 127 COMMAND cannot be run.

Examples:
  holdlock run backup -- rsync -a /srv /mnt   wait for our turn, then run
  holdlock run --skip nightly -- ./job.sh     cron: not while it is still running
  holdlock run -w 30s ./x.lock -- make        wait for half a minute at most

`holdlock run --help` has all options and the details.",
};

const AFTER: &str = "\
DURATION is in seconds (5, 0.5) or has units: 500ms, 90s, 2m, 1h30m, 1d.

If COMMAND ends by itself, holdlock releases the lock. Processes that COMMAND leaves in
the background do not keep the lock, except with --tree or --exec. If a signal ends
COMMAND or holdlock, the rest of the job may be in the middle of its work: its processes
have inherited the lock and keep it until they end. holdlock names these processes, and
stays for processes of the job that have not inherited the lock (see --close).

Signals: holdlock passes INT, TERM, HUP, QUIT, USR1, USR2, CONT, TSTP and WINCH that a
process sends to it on to COMMAND; signals of the terminal (Ctrl-C, Ctrl-Z) reach
COMMAND directly. With --tree a second TERM ends everything that COMMAND has started.
If KILL ends holdlock, COMMAND gets TERM. The processes that COMMAND has started do not
get it, nor does a COMMAND that runs with other rights than its caller (set-uid).

--max-hold sends TERM to COMMAND and to everything that it has started, including
background processes and daemons. After --kill-after it sends KILL until no process is
left. The limit also applies to a stopped job (Ctrl-Z).

The record: a lock file that holdlock created or found empty says who has or had the
lock, since when, and how the last run ended (`cat` shows it). If COMMAND runs under one
lock, it gets HOLDLOCK_TOKEN, a number that is higher in each later run. It gets
HOLDLOCK_ABANDONED=1 if the last holder died, or a signal ended the command of the last
holder. In this case holdlock warns, or does what --if-abandoned says. The options
--note, --if-abandoned and --at-most-every refuse a file that cannot have a record.

--at-most-every 1h skips the run, with exit code 0, if the last run that succeeded began
less than an hour ago. A clock that was set back does not block the run.

With several --lock, holdlock acquires all locks or no lock. While it waits for one of
them it holds no other, so that no deadlock arises. -w limits the wait for all locks.

If COMMAND, or a process in its background, starts `holdlock run` for the same lock, the
inner run would wait for ever: it ends with 65. To run a job after COMMAND, detach it
(setsid -f). With --reentrant the inner run starts at once, if it has inherited the
exclusive lock from an outer holdlock that waits for it; the lock is released when the
outer COMMAND ends.

Between hosts: if LOCK is a URL such as
postgres://host/database#name, that server keeps the lock. While HOLDLOCK_ENGINE has the
URL of a server, postgres://host/database, a name is a lock of that server; a path never
is. COMMAND gets HOLDLOCK_TOKEN, HOLDLOCK_LOCK (the URL without user and password),
HOLDLOCK_ENGINE_KIND, and HOLDLOCK_TTL: for how many seconds the server keeps the lock
of a silent host. If the lock is lost, or could be lost soon because the server does not
answer, COMMAND and all that it has started get TERM, and KILL before another process
can have the lock; `--on-lost kill` leaves out TERM, and with `--on-lost warn` they
continue without the lock. Processes that COMMAND leaves do not keep the lock. If KILL
ends holdlock, COMMAND gets KILL. --at-most-every and --if-abandoned need `holdlock
engine init`.

Progress: a terminal shows one line after half a second, with the holder and the place
in the queue. A file or pipe gets lines after 5 seconds, 1 minute, 2, 4, 8 minutes and
so on, and a last line when the lock is acquired; with --progress always the first line
comes after half a second. With --progress never or -q there is no line.

Exit codes:
  the exit code of COMMAND, or 128+n if signal n ended it (if INT or QUIT ended it,
  holdlock dies of the same signal, so that Ctrl-C ends a script); else
   64  wrong usage
   65  waiting would be a deadlock: the process that started this command holds the
       lock, or holdlock commands wait for each other's locks in a cycle
   66  the lock file cannot be opened, or cannot have the record that an option needs
   69  the server that keeps the lock does not answer
   71  the operating system refused something
   73  the lock file or the log cannot be created
   74  a lock between hosts was lost while COMMAND ran
   75  another process holds the lock (-n), or still holds it (-w); see -E, --skip
   76  the last holder died (--if-abandoned)
   77  the server refuses the login
   78  the server is no safe place for a lock, or lacks what an option needs
  124  COMMAND held the lock longer than --max-hold and was ended
  126  COMMAND cannot be executed
  127  COMMAND is not found

Examples:
  holdlock run backup -- rsync -a /srv /mnt   wait for our turn, then run
  holdlock run --skip nightly -- ./job.sh     cron: not while it is still running
  holdlock run -n nightly -- ./job.sh         give up at once while it is running
  holdlock run -w 30s -E 0 ./x.lock -- make   wait half a minute; giving up is fine
  holdlock run -s data -- ./report            together with other readers
  holdlock run --at-most-every 1h poll -- ./poll   once an hour at most
  holdlock run --max-hold 1h sync -- ./sync   end a job that hangs
  holdlock run --lock a --lock b -- ./move    both, or none
  holdlock run --slots 4 gpu -- ./train       four at a time; HOLDLOCK_SLOT is 0 to 3
  holdlock run --system disk -- ./check       a name that all users share
  holdlock run postgres://db/app#nightly -- ./job.sh   one of all hosts at a time";

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

/// The options for the locks and the wait.
fn acquiring() -> [Arg; 10] {
    [
        flag(
            "shared",
            "Share the lock with other shared holders; exclude exclusive ones",
        )
        .short('s'),
        flag(
            "fair",
            "Queue behind all earlier --fair requests; no reader passes a waiting writer",
        ),
        Arg::new("slots")
            .long("slots")
            .value_name("N")
            .allow_hyphen_values(true)
            .value_parser(slots)
            .conflicts_with_all(["shared", "lock", "reentrant"])
            .help("Let N holders in at a time; COMMAND finds its slot in HOLDLOCK_SLOT"),
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
            .help("Acquire this lock, too; may be repeated. All other words are then COMMAND"),
        super::system(),
        flag(
            "reentrant",
            "Run at once under the lock of an outer `holdlock run` that waits for this job",
        )
        .conflicts_with_all(["exec", "shared"]),
    ]
}

/// The options for the command, and for the lock while the command runs.
fn keeping() -> [Arg; 6] {
    [
        duration(
            "max-hold",
            "End COMMAND and all that it has started after DURATION under the lock",
        )
        .value_parser(longer_than_nothing),
        duration(
            "kill-after",
            "Send KILL this long after TERM [default: 10s]",
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
            "Become COMMAND, which then holds the lock itself, as with flock -F",
        )
        .conflicts_with_all(["max-hold", "tree", "close", "log"]),
        Arg::new("on-lost")
            .long("on-lost")
            .value_name("ACTION")
            .value_parser(["term", "kill", "warn"])
            .hide_possible_values(true)
            .help("If a lock of an engine is lost: term, kill, warn [default: term]"),
    ]
}

/// What the record of the lock is for.
fn remembering() -> [Arg; 3] {
    [
        Arg::new("note")
            .long("note")
            .value_name("TEXT")
            .value_parser(value_parser!(OsString))
            .conflicts_with_all(["shared", "slots"])
            .help("Why the lock is held, for `holdlock who` and for those that wait"),
        Arg::new("if-abandoned")
            .long("if-abandoned")
            .value_name("ACTION")
            .value_parser(value_parser!(OsString))
            .conflicts_with_all(["shared", "slots"])
            .help("If the last holder died: run, fail, or a command of sh that cleans up first"),
        Arg::new("at-most-every")
            .long("at-most-every")
            .value_name("DURATION[,always]")
            .allow_hyphen_values(true)
            .value_parser(interval)
            .conflicts_with_all(["shared", "slots", "lock", "exec", "reentrant"])
            .help(
                "Skip if the last run that succeeded (always: or failed) began less than that ago",
            ),
    ]
}

/// The options for messages and the log.
fn telling() -> [Arg; 3] {
    [
        flag("quiet", "Print nothing about waiting and giving up").short('q'),
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

fn slots(text: &str) -> Result<u32, String> {
    let most = Semaphore::MAX_SLOTS;
    let number = text.parse().ok();
    let number = number.filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("a lock has 1 to {most} slots"))
}

fn longer_than_nothing(text: &str) -> Result<Duration, String> {
    match duration::parse(text)? {
        Duration::ZERO => Err("a command needs some time".into()),
        some => Ok(some),
    }
}

fn interval(text: &str) -> Result<Interval, String> {
    let (time, always) = match text.split_once(',') {
        None => (text, false),
        Some((time, "always")) => (time, true),
        Some(_) => return Err("after the comma only `always` is possible, as in 1h,always".into()),
    };
    match duration::parse(time)? {
        Duration::ZERO => Err("an interval needs some time".into()),
        time => Ok(Interval { time, always }),
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
#[path = "run_tests.rs"]
mod tests;
