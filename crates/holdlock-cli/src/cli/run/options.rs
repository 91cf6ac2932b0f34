//! The options of `holdlock run`, and what their values may be.

use std::ffi::OsString;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, value_parser};
use holdlock::Semaphore;

use crate::run::Interval;
use crate::{cli, duration};

/// The options for the locks and the wait.
pub(super) fn acquiring() -> [Arg; 10] {
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
            .help("Let N holders in at a time, 1 to 256; COMMAND finds its slot in HOLDLOCK_SLOT"),
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
        cli::system(),
        flag(
            "reentrant",
            "Run at once under the lock of an outer `holdlock run` that waits for this job",
        )
        .conflicts_with_all(["exec", "shared"]),
    ]
}

/// The options for the command, and for the lock while the command runs.
pub(super) fn keeping() -> [Arg; 6] {
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
pub(super) fn remembering() -> [Arg; 3] {
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
            .value_parser(OsStringValueParser::new().try_map(not_empty))
            .conflicts_with_all(["shared", "slots"])
            .help("If the last holder died: run, fail, or a command of sh that cleans up first"),
        Arg::new("at-most-every")
            .long("at-most-every")
            .value_name("DURATION[,always]")
            .allow_hyphen_values(true)
            .value_parser(interval)
            .conflicts_with_all(["shared", "slots", "lock", "exec", "reentrant"])
            .help(
                "Skip if a run began less than DURATION ago and succeeded (with always: or failed)",
            ),
    ]
}

/// The options for messages and the log.
pub(super) fn telling() -> [Arg; 3] {
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

/// An empty command of sh would succeed, and have cleaned nothing up.
fn not_empty(action: OsString) -> Result<OsString, &'static str> {
    if action.is_empty() {
        return Err("use run, fail, or a command");
    }
    Ok(action)
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
