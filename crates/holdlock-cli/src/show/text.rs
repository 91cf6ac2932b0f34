//! Files, processes and times as people read them.

use std::ffi::OsStr;
use std::time::SystemTime;

use holdlock::inspect::{self, Lock, LockedFile, Process, Range, State, Waiter};

use super::job;
use super::time;
use super::width::head;

/// The cell of a table without a value, so that programs can count the columns.
pub(crate) const NONE: &str = "-";

/// Names of files and commands without control characters: see the library's filter.
pub(crate) fn printable(text: &str) -> String {
    inspect::printable(text).to_string()
}

/// A path on one line.
pub(crate) fn path(path: &(impl AsRef<OsStr> + ?Sized)) -> String {
    inspect::printable(path).to_string()
}

/// An argument as a user can type it into a shell: in quotes if the shell would read it otherwise.
pub(crate) fn shell_word(word: &(impl AsRef<OsStr> + ?Sized)) -> String {
    let word = path(word);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word;
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The name of a locked file, as far as it is known: its path, perhaps in another mount namespace
/// (`elsewhere`); `/mnt/…` if only the file system is known; or its numbers.
pub(crate) fn file(file: &LockedFile) -> String {
    match (&file.path, &file.mount_point) {
        (Some(known), _) => {
            let mark = match (file.removed, file.elsewhere) {
                (false, false) => "",
                (true, false) => " (removed)",
                (false, true) => " (elsewhere)",
                (true, true) => " (removed, elsewhere)",
            };
            format!("{}{mark}", path(known))
        }
        (None, Some(point)) => format!("{}/…", path(point).trim_end_matches('/')),
        (None, None) => format!("file {}", file.file_id),
    }
}

/// `all`, `10-19`, `10-EOF`
pub(crate) fn range(range: Range) -> String {
    match range.end {
        _ if range == Range::WHOLE => "all".into(),
        Some(end) => format!("{}-{end}", range.start),
        None => format!("{}-EOF", range.start),
    }
}

/// What a lock covers: `all`, `10-19`, `slot 2`.
pub(crate) fn extent(lock: &Lock) -> String {
    lock.slot
        .map_or_else(|| range(lock.range), |slot| format!("slot {slot}"))
}

/// What a request is to cover: `all`, `10-19`, `any slot`.
pub(crate) fn wanted(waiter: &Waiter) -> String {
    if waiter.is_for_a_slot() {
        "any slot".into()
    } else {
        range(waiter.range)
    }
}

/// `3 min ago`
pub(crate) fn ago(started: Option<SystemTime>) -> String {
    started.map_or_else(
        || NONE.into(),
        |started| format!("{} ago", time::span(started.elapsed().unwrap_or_default())),
    )
}

/// The command of a process: the job, and not the wrapper that runs it under a lock.
pub(crate) fn command(process: &Process) -> String {
    let job = job::of(process);
    job.map_or_else(|| NONE.into(), |job| printable(&job))
}

/// Its user's name.
pub(crate) fn user(process: &Process) -> String {
    let user = process.user.as_deref();
    user.map_or_else(|| NONE.into(), printable)
}

/// `pid 4711 (make all) of ann, stopped`
pub(crate) fn process(process: &Process) -> String {
    printable(&process.to_string())
}

/// The same with the job as the command, cut to this many cells.
pub(crate) fn process_cut(one: &Process, most: Option<usize>) -> String {
    let mut short = one.clone();
    short.command = job::of(one).map(|job| match most {
        Some(most) => head(&job, most),
        None => job,
    });
    process(&short)
}

/// A state in which a process does not continue by itself.
pub(crate) fn notable(state: Option<State>) -> Option<State> {
    use State::{Stopped, Traced, Uninterruptible, Zombie};
    state.filter(|state| matches!(state, Stopped | Traced | Uninterruptible | Zombie))
}

/// `1 process`, `2 processes`
pub(crate) fn count(number: usize, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_a_quoted_word_as_it_was() {
        assert_eq!(shell_word("a-b.c"), "a-b.c");
        assert_eq!(shell_word("a b$(x)"), "'a b$(x)'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn ranges_say_where_they_end() {
        let of = |start, end| {
            let mut some = Range::WHOLE;
            (some.start, some.end) = (start, end);
            range(some)
        };
        assert_eq!(of(0, None), "all");
        assert_eq!(of(10, Some(19)), "10-19");
        assert_eq!(of(10, None), "10-EOF");
    }
}
