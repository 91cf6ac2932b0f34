//! `holdlock who`.

use std::ffi::{OsStr, OsString};

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::duration;
use crate::exit::Failure;
use crate::show::held;
use crate::show::json::{ENGINE_FIELDS, PROCESS_FIELDS};
use crate::show::text;
use crate::who::{self, Form, Patience, Settings};

const BRIEF: super::Brief = super::Brief {
    common: &["wait", "signal", "json", "quiet", "all"],
    after: "\
Exit codes: 0 held, 1 free, 2 unknown, 64 wrong usage; with --wait 0 free, 75 still held;
69, 77, 78 trouble with the engine of a URL.

Examples:
  holdlock who backup                        the holder, and the processes that wait
  if holdlock who -q backup; then ...        is it running?
  holdlock who --wait=5m backup              wait until it is free, at most 5 minutes
  holdlock who --signal TERM --wait backup   end its holder

`holdlock who --help` has the details.",
};

const AFTER: &str = "\
LOCK is a name such as `backup`, for a file in your lock directory, or a path, which
is anything with a slash. Processes of every program are shown, whether they use
flock(2) or fcntl(2). `who` does not create, open or lock the file, except in a
container (see below).

A `holds` line is the process that acquired the lock. If that is `holdlock run` or
flock(1), the `job` lines below it are the processes that it has started and that still
run. Waiters are in the order of service: `waits 1` acquires the lock when the present
holders release it, `waits 2` after that. PROCESS STARTED is the start of the process;
the kernel does not record when a lock was acquired. If the lock file was removed while
a process held the lock, that file is shown below the file that is at the path now. A
lease is shown, but is not a lock: a file with only a lease is free.

Only root sees everything; standard error reports what could not be seen. In a container
(a PID namespace), the kernel hides locks that were acquired outside. If `who` sees no
holder there, it tries the lock for some microseconds, and exits with 2 if a process
outside holds it.

--wait does not queue for the lock. It notices the end of a holder at once. To notice a
release by a process that continues, it looks again, first after 20 ms, in a long wait
every second. Another process may acquire the lock before you act: to hold the lock
yourself, use `holdlock run`. `holdlock wait` does the same for several locks.

A line `inherited` is a holder that did not acquire the lock itself: a process that did
has started it, or has handed the open file to it. Every user who can open the lock file
can hand it to another process. For OFD locks (KIND `ofd`) the kernel does not say which
process acquired them: their holders have `holds`.

--signal names the holders and asks on the terminal. Just before it sends the signal, it
checks that each is still the process that was shown and still holds the lock. It sends
nothing to waiters, to this command, or to the processes that started this command. With
--yes and -q or --json, which show no process first, it skips holders that only
inherited the lock, or may have (OFD locks), unless LOCK is a name in a lock directory
that is closed to other users (not with --system).

If LOCK is a URL, or a name while HOLDLOCK_ENGINE has one, `who` shows the holders and
waiters of all hosts. --break TOKEN ends the hold of the holder that has this token, and
can hit no other holder; it learns at once that its lock is lost, but the next holder may
begin before its work has stopped. --signal goes only to processes of this host that have
a connection to this server.

--json prints one document, at the end of the wait if there is one. There is none if the
path cannot be looked at: standard error has the reason then, and the exit code is 2.
  version, path, exists, held, waited_s (null without --wait),
  signalled[] (pids), unseen[] (sentences)
  files[]: path, removed (another file is at the path, or no file), elsewhere (in
    another mount namespace), mount_point, place: device, inode;
    mixes_families (flock and fcntl, which do not exclude each other), record
  files[].slots (how many, or null)
  files[].locks[]: kind, mode, slot (or null), range: start, end (null is the end of the file);
    taker, inherited (other processes than the taker hold it), holders[]: descriptor,
    process, inherited (did not acquire the lock itself; false for kind ofd: unknown)
  files[].waiters[]: kind, mode, range, for_slot, turn, descriptor, process
  jobs[]: holder (pid), processes[] (started by the holder, and still running)
  process: PROCESS_FIELDS
  record: RECORD_FIELDS
  ENGINE_FIELDS
  broken (null without --break): token, process

Exit codes:
   0  a process holds the lock; with --wait: it became free; with --break: it was ended
   1  it is free, also when there is no such file; no holder has the TOKEN
   2  unknown: not all could be seen, or a process outside this PID namespace holds it
  64  wrong usage
  65  --wait without DURATION: the job that this command is part of holds it
  69  the engine of the URL does not answer
  71  the operating system refused something
  73  the lock directory of a name is not safe (see `holdlock path --help`)
  75  with --wait: a process still holds it after DURATION
  77  the engine refuses the login, or this user may not end the session
  78  the engine is no safe place for a lock

Examples:
  holdlock who backup                        the holder, and the processes that wait
  holdlock who /var/lib/dpkg/lock-frontend   a lock of another program
  if holdlock who -q backup; then ...        is it running?
  holdlock who --wait=5m -q backup           wait until it is free, at most 5 minutes
  holdlock who --signal TERM --wait backup   end its holder
  holdlock who postgres://db/app#nightly     holders and waiters of all hosts";

pub(super) fn command() -> Command {
    Command::new("who")
        .bin_name("holdlock who")
        .about("Show the processes that hold a lock or wait for it")
        .override_usage("holdlock who [OPTIONS] LOCK")
        .after_help(
            AFTER
                .replace("PROCESS_FIELDS", PROCESS_FIELDS)
                .replace("RECORD_FIELDS", held::FIELDS)
                .replace("ENGINE_FIELDS", ENGINE_FIELDS),
        )
        .args([
            Arg::new("LOCK")
                .required(true)
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString))
                .help("A name, a path (anything with a slash), or a URL"),
            // For `--wait 5 LOCK`: see `parse`.
            Arg::new("second")
                .hide(true)
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString)),
            super::system(),
            flag("all", "Show all waiting processes, also on a terminal").short('a'),
            flag("quiet", "Print nothing, only set the exit code").short('q'),
            flag("json", "Print one JSON document")
                .short('J')
                .conflicts_with("quiet"),
            Arg::new("wait")
                .long("wait")
                .value_name("DURATION")
                .num_args(0..=1)
                .require_equals(true)
                .default_missing_value("")
                .value_parser(patience)
                .help("Wait until it is free, for at most DURATION (5, 500ms, 2m)"),
            Arg::new("signal")
                .long("signal")
                .value_name("SIG")
                .value_parser(who::signal_named)
                .help("Send this signal (TERM, SIGTERM, 15) to the holders"),
            flag("yes", "Do not ask before --signal")
                .short('y')
                .requires("signal"),
            Arg::new("break")
                .long("break")
                .value_name("TOKEN")
                .value_parser(value_parser!(u64))
                .conflicts_with("signal")
                .help("End the hold of the holder that has this token (a lock of an engine)"),
        ])
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .help(help)
}

fn patience(text: &str) -> Result<Patience, String> {
    match text {
        "" => Ok(Patience::Endless),
        limit => duration::parse(limit).map(Patience::For),
    }
}

/// Parses the words after `who`.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Settings, Failure> {
    let words: Vec<OsString> = words.collect();
    let mut matches = super::matches_with(command(), &BRIEF, words.iter().cloned())?;
    let mut lock: OsString = matches.remove_one("LOCK").expect("clap requires it");
    let mut wait = matches.remove_one("wait");
    if let Some(second) = matches.remove_one::<OsString>("second") {
        wait = Some(limit_before(&lock, &second, wait, &words)?);
        lock = second;
    }
    let form = match (matches.get_flag("quiet"), matches.get_flag("json")) {
        (true, _) => Form::Nothing,
        (_, true) => Form::Json,
        _ => Form::Text,
    };
    Ok(Settings {
        lock,
        names: super::names(&matches),
        form,
        all: matches.get_flag("all"),
        wait,
        signal: matches.remove_one("signal"),
        yes: matches.get_flag("yes"),
        broken: matches.remove_one("break"),
    })
}

/// The limit 5 of `--wait 5 LOCK`. (In `--wait 5` alone, 5 is the name of a lock.)
fn limit_before(
    first: &OsStr,
    second: &OsStr,
    wait: Option<Patience>,
    words: &[OsString],
) -> Result<Patience, Failure> {
    let mut pairs = words.windows(2);
    let follows = pairs.any(|pair| pair[0] == "--wait" && pair[1] == first);
    let limit = first.to_str().map(duration::parse);
    match limit {
        Some(Ok(limit)) if follows && wait == Some(Patience::Endless) => Ok(Patience::For(limit)),
        _ => {
            let lock = text::path(second);
            let message = format!(
                "only one LOCK can be given, and {lock} is a second one; \
                 `holdlock wait` takes several"
            );
            Err(super::misused(command(), &message))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parsed(words: &[&str]) -> Result<Settings, Failure> {
        parse(words.iter().map(Into::into))
    }

    #[test]
    fn the_parser_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_wait_has_its_limit_after_an_equals_sign_or_before_the_lock() {
        let wait = |words: &[&str]| parsed(words).unwrap().wait;
        assert_eq!(wait(&["L"]), None);
        assert_eq!(wait(&["--wait", "5"]), Some(Patience::Endless));
        let five = Patience::For(Duration::from_secs(5));
        assert_eq!(wait(&["--wait=5", "L"]), Some(five));
        assert_eq!(wait(&["-q", "--wait", "5", "L"]), Some(five));
        assert_eq!(parsed(&["--wait", "5", "L"]).unwrap().lock, "L");
    }

    #[test]
    fn misuse_is_a_usage_error() {
        for words in [
            &[][..],
            &["a", "b"],
            &["5", "L"],
            &["5", "L", "--wait"],
            &["--wait=3", "5", "L"],
            &["--wait", "5", "L", "M"],
            &["--yes", "L"],
            &["--signal", "NOTHING", "L"],
            &["--wait=soon", "L"],
            &["-q", "--json", "L"],
        ] {
            let code = parsed(words).err().map(|failure| failure.code);
            assert_eq!(code, Some(64), "{words:?}");
        }
        assert_eq!(
            parsed(&["--help"]).err().map(|failure| failure.code),
            Some(0)
        );
    }
}
