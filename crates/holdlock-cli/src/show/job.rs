//! The job that a wrapper runs: for `holdlock run nightly -- make` it is `make`.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use holdlock::inspect::{Process, printable};

use crate::cli::completions::options_with_values;

/// Ends a word of a command line: no word can contain it.
const END: &str = "\0";

/// The options of flock(1) that take a value.
const FLOCK: [&str; 8] = [
    "-w",
    "--wait",
    "--timeout",
    "-E",
    "--conflict-exit-code",
    "--start",
    "--length",
    "--fd",
];

/// The most characters of a job, as in the library's snapshot.
const LENGTH: usize = 120;

/// The job of a process, shortened.
pub(crate) fn of(process: &Process) -> Option<String> {
    let command = process.command.as_deref()?;
    let words = words(process.pid, command).unwrap_or_else(|| command.replace(' ', END));
    let job = job(&words);
    let shown = match job.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}…", &job[..end]),
        None => job.to_owned(),
    };
    Some(shown.replace(END, " "))
}

/// The words of a wrapper's command line, each but the last with `END` behind it. The snapshot has
/// the command line as it is shown: perhaps cut, and without the ends of its words.
fn words(pid: u32, command: &str) -> Option<String> {
    let first = command.split(' ').next()?;
    if !["holdlock", "flock"].contains(&brief(first)) {
        return None;
    }
    let mut words = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    words.pop();
    let words = words.split(|byte| *byte == 0);
    let words = words.map(|word| printable(OsStr::from_bytes(word)).to_string());
    let words = words.collect::<Vec<String>>().join(END);
    // Another process may have the number by now.
    let beginning = command.strip_suffix('…').unwrap_or(command);
    let is_same = words.replace(END, " ").starts_with(beginning);
    is_same.then_some(words)
}

/// The command line that `holdlock run` or flock(1) runs; for another program, its whole command
/// line.
fn job(words: &str) -> &str {
    let mut job = words;
    while let Some(inner) = wrapped(job) {
        job = inner;
    }
    job
}

/// A command line without the directory of its program: `/usr/bin/make all` becomes `make all`.
pub(crate) fn brief(command: &str) -> &str {
    let end = command.find(' ').unwrap_or(command.len());
    match command[..end].rfind('/') {
        // The word may end in a slash, or be no path.
        Some(at) if at + 1 < end => &command[at + 1..],
        _ => command,
    }
}

fn wrapped(words: &str) -> Option<&str> {
    let mut words = Words(words);
    match brief(words.next()?) {
        "holdlock" => match words.next()? {
            "run" => below_run(words),
            "flock" => below_flock(words),
            _ => None,
        },
        "flock" => below_flock(words),
        _ => None,
    }
}

fn below_run(mut words: Words<'_>) -> Option<&str> {
    static VALUED: OnceLock<Vec<String>> = OnceLock::new();
    let valued = VALUED.get_or_init(options_with_values);
    let is_named = words.skip_options(|option| valued.iter().any(|known| known == option));
    if !is_named {
        words.next()?;
    }
    words.skip("--");
    words.rest()
}

fn below_flock(mut words: Words<'_>) -> Option<&str> {
    words.skip_options(|option| FLOCK.contains(&option));
    words.next()?;
    let _ = words.skip("-c") || words.skip("--command");
    words.rest()
}

/// The words of a command line that are left to look at.
struct Words<'c>(&'c str);

impl<'c> Words<'c> {
    fn next(&mut self) -> Option<&'c str> {
        let (word, rest) = self.0.split_once(END).unwrap_or((self.0, ""));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }

    /// Skips the next word if it is this one.
    fn skip(&mut self, word: &str) -> bool {
        let mut after = Words(self.0);
        let is_next = after.next() == Some(word);
        if is_next {
            self.0 = after.0;
        }
        is_next
    }

    /// Skips options and their values. Returns whether `--lock` was among them.
    fn skip_options(&mut self, has_value: impl Fn(&str) -> bool) -> bool {
        let mut is_named = false;
        while self.0.starts_with('-') && !self.0.starts_with("--\0") {
            let Some(option) = self.next() else {
                break;
            };
            is_named |= option.split('=').next() == Some("--lock");
            let value_follows = if option.starts_with("--") {
                has_value(option)
            } else {
                // The value of `-nw5` is in the same word, that of `-nw 5` in the next word.
                let mut letters = option.char_indices().skip(1);
                let valued = letters.find(|(_, letter)| has_value(&format!("-{letter}")));
                valued.is_some_and(|(at, letter)| at + letter.len_utf8() == option.len())
            };
            if value_follows {
                self.next();
            }
        }
        self.skip("--");
        is_named
    }

    fn rest(self) -> Option<&'c str> {
        (!self.0.is_empty()).then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_is_what_a_wrapper_runs() {
        for (command, expected) in [
            ("holdlock run nightly -- make all", "make all"),
            ("/usr/bin/holdlock run nightly make all", "make all"),
            ("holdlock run -nw 5 -E3 nightly make -w", "make -w"),
            ("holdlock run --timeout 5 --fair -s L -- -odd", "-odd"),
            ("holdlock run --timeout=5 -- L make", "make"),
            ("holdlock run --lock a --lock=b -- make", "make"),
            ("holdlock run a -- holdlock run b -- make", "make"),
            ("flock -n -E 3 /run/x make all", "make all"),
            ("flock /run/x -c make all", "make all"),
            ("holdlock flock /run/x make", "make"),
        ] {
            assert_eq!(shown(command), expected, "{command}");
        }
    }

    #[test]
    fn a_value_of_several_words_is_one_value() {
        let command = "holdlock\0run\0--note\0two words\0nightly\0--\0sh\0-c\0make all";
        assert_eq!(job(command), "sh\0-c\0make all");
    }

    fn shown(command: &str) -> String {
        job(&command.replace(' ', END)).replace(END, " ")
    }

    #[test]
    fn other_commands_are_their_own_job() {
        for command in [
            "",
            "make all",
            "holdlock",
            "holdlock top",
            "holdlock run",
            "holdlock run nightly",
            "holdlock run --timeout",
            "flock 9",
            "sh -c holdlock run x make",
        ] {
            assert_eq!(shown(command), command);
        }
    }

    #[test]
    fn brief_commands_begin_with_the_name() {
        assert_eq!(brief("/usr/bin/make -C /src all"), "make -C /src all");
        for command in ["make /src", "", "/", "/a/ b", "?"] {
            assert_eq!(brief(command), command);
        }
    }
}
