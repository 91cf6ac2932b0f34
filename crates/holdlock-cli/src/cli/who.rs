//! `holdlock who`.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, ValueHint, value_parser};

use crate::duration;
use crate::exit::Failure;
use crate::show::json::PROCESS_FIELDS;
use crate::who::{self, Form, Patience, Settings};

const AFTER: &str = "\
LOCK is a name such as `backup`, for a file in your lock directory, or a path,
which is anything with a slash. Whatever program uses the lock is named, by
flock(2) as by fcntl(2). Nothing is locked, opened or created.

Those that wait are shown in their order: `waits 1` is served once the present
locks are released, `waits 2` after that. PROCESS STARTED is the start of the
process; since when it has the lock the kernel does not tell. A file that was
removed, and on which somebody still has a lock, is shown below the one that is
at the path now. A lease is shown, but is no lock: with it alone the file is free.

Only root sees everything. What could not be seen is told on standard error.

--wait takes no lock, so it is in nobody's way: the end of a holder is noticed
at once, and a release by looking again, after 20 ms at first and each second in
a long wait. Somebody else may have the lock by the time you act on that; to have
it yourself use `holdlock run`.

A holder that did not take the lock itself is marked `inherited`: it was started by
the one who did, or was handed the open file by whoever can open it.

--signal asks on the terminal first, and names the processes. Just before it sends,
it looks whether each is still the one that was shown and still holds a lock. It does
not go to those that wait, nor to this command itself and those that started it; and
with --yes and -q or --json, which show nobody, not to those that only inherited the
lock of a path (other users cannot open the files of names).

--json prints one document, with --wait when that is over:
  version, path, exists, held, waited_s (null without --wait),
  signalled[] (pids), unseen[] (sentences)
  files[]: path, removed (another file is at the path, or none), elsewhere (in
    another mount namespace), mount_point, place: device, inode;
    mixes_families (flock and fcntl, which do not exclude each other)
  files[].locks[]: kind, mode, range: start, end (null is the end of the file);
    taker, inherited (others than who took it keep it), holders[]: descriptor,
    process, inherited (did not take the lock itself)
  files[].waiters[]: kind, mode, range, turn, descriptor, process
  process: PROCESS_FIELDS

Exit codes:
   0  held: somebody has a lock; also when --wait has run out
   1  free: nobody has one, also when there is no such file
   2  an error, wrong usage included (as grep(1) has it)

Examples:
  holdlock who backup                        who has it, who waits
  holdlock who /var/lib/dpkg/lock-frontend   whatever program it is
  if holdlock who -q backup; then ...        is it running?
  holdlock who --wait=5m -q backup           wait until it is free, at most 5 minutes
  holdlock who --signal TERM --wait backup   end who has it";

pub(super) fn command() -> Command {
    Command::new("who")
        .bin_name("holdlock who")
        .about("Who holds a lock and who waits for it")
        .after_help(AFTER.replace("PROCESS_FIELDS", PROCESS_FIELDS))
        .args([
            Arg::new("LOCK")
                .required(true)
                .value_hint(ValueHint::AnyPath)
                .value_parser(value_parser!(OsString))
                .help("A name, or a path (anything with a slash)"),
            flag("quiet", "Print nothing, only tell by the exit code").short('q'),
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
                .help("Wait until it is free, at most so long (5, 500ms, 2m)"),
            Arg::new("signal")
                .long("signal")
                .value_name("SIG")
                .value_parser(who::signal_named)
                .help("Send this signal (TERM, SIGTERM, 15) to the holders"),
            flag("yes", "Do not ask before --signal")
                .short('y')
                .requires("signal"),
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
    let mut matches = super::matches(command(), words).map_err(who::failure)?;
    let form = match (matches.get_flag("quiet"), matches.get_flag("json")) {
        (true, _) => Form::Nothing,
        (_, true) => Form::Json,
        _ => Form::Text,
    };
    Ok(Settings {
        lock: matches.remove_one("LOCK").expect("clap requires it"),
        form,
        wait: matches.remove_one("wait"),
        signal: matches.remove_one("signal"),
        yes: matches.get_flag("yes"),
    })
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
    fn a_wait_has_its_limit_after_an_equals_sign() {
        let wait = |words: &[&str]| parsed(words).unwrap().wait;
        assert_eq!(wait(&["L"]), None);
        assert_eq!(wait(&["--wait", "5"]), Some(Patience::Endless));
        let five = Patience::For(Duration::from_secs(5));
        assert_eq!(wait(&["--wait=5", "L"]), Some(five));
    }

    #[test]
    fn misuse_is_2() {
        for words in [
            &[][..],
            &["a", "b"],
            &["--yes", "L"],
            &["--signal", "NOTHING", "L"],
            &["--wait=soon", "L"],
            &["-q", "--json", "L"],
        ] {
            let code = parsed(words).err().map(|failure| failure.code);
            assert_eq!(code, Some(2), "{words:?}");
        }
        assert_eq!(
            parsed(&["--help"]).err().map(|failure| failure.code),
            Some(0)
        );
    }
}
