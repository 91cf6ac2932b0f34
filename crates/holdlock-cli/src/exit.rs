//! Exit codes, and the failures that lead to them.
//!
//! The numbers are those of `sysexits.h`, if it has one, so that scripts can distinguish failures
//! of the lock from the small exit codes of the command.

use std::io;

pub(crate) use crate::say::{warn, warn_later};
use crate::show::text;

/// Success.
pub(crate) const SUCCESS: u8 = 0;
/// `demo`: critical sections overlapped although the lock was on.
pub(crate) const OVERLAP: u8 = 1;
/// `doctor`: locks would not be safe there.
pub(crate) const NOT_SAFE: u8 = 1;
/// `torture`: a lock did not do what is promised.
pub(crate) const FOUND: u8 = 1;
/// `graph`: processes wait for one another and cannot make progress.
pub(crate) const STUCK: u8 = 1;
/// Wrong usage (`EX_USAGE`).
pub(crate) const USAGE: u8 = 64;
/// Waiting would have been a deadlock (`EX_DATAERR`, as flock(1) has it for lock errors).
pub(crate) const DEADLOCK: u8 = 65;
/// The lock file cannot be opened (`EX_NOINPUT`).
pub(crate) const NO_INPUT: u8 = 66;
/// The engine of a lock does not answer (`EX_UNAVAILABLE`).
#[cfg(feature = "engines")]
pub(crate) const UNREACHABLE: u8 = 69;
/// The operating system refused something (`EX_OSERR`).
pub(crate) const OS_ERROR: u8 = 71;
/// The lock file or its directory cannot be created (`EX_CANTCREAT`).
pub(crate) const CANNOT_CREATE: u8 = 73;
/// The lock was lost while the command ran (`EX_IOERR`).
pub(crate) const LOST: u8 = 74;
/// Another process holds the lock (`EX_TEMPFAIL`: try again later).
pub(crate) const CONFLICT: u8 = 75;
/// The last holder of the lock died (`EX_PROTOCOL`).
pub(crate) const ABANDONED: u8 = 76;
/// The engine of a lock refuses the login (`EX_NOPERM`).
#[cfg(feature = "engines")]
pub(crate) const CREDENTIALS: u8 = 77;
/// The engine is no safe place for a lock (`EX_CONFIG`).
#[cfg(feature = "engines")]
pub(crate) const UNSUITABLE: u8 = 78;
/// The command held the lock too long and was ended, as timeout(1) has it.
pub(crate) const HELD_TOO_LONG: u8 = 124;
/// The command exists but cannot be executed, as shells have it.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command does not exist, as shells have it.
pub(crate) const NOT_FOUND: u8 = 127;

/// The reader of standard output has closed it: 128 + SIGPIPE, like other programs in a pipeline.
pub(crate) const NO_READER: u8 = 128 + 13;

/// The text of an error of the operating system, without the number that Rust adds.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error.raw_os_error();
    let number = number.map(|number| format!(" (os error {number})"));
    let words = number.and_then(|number| text.strip_suffix(&number).map(str::to_owned));
    words.unwrap_or(text)
}

/// The end of a subcommand: an exit code, or a failure that has one.
pub(crate) type Outcome = Result<u8, Failure>;

/// Why a subcommand gives up.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    /// One line; the names in it may have any characters.
    pub(crate) message: String,
    /// Lines below it.
    pub(crate) more: String,
}

impl Failure {
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            more: String::new(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(USAGE, message)
    }

    /// The operating system refused `what`.
    pub(crate) fn system(what: &str, error: impl Into<io::Error>) -> Failure {
        Failure::new(OS_ERROR, format!("{what}: {}", reason(&error.into())))
    }

    /// Standard output cannot be written. There is no message if the reader has ended, as `head`
    /// does.
    pub(crate) fn output(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::new(NO_READER, "");
        }
        Failure::system("cannot write to standard output", error)
    }
}

impl From<holdlock::Error> for Failure {
    fn from(error: holdlock::Error) -> Failure {
        Failure::from(&error)
    }
}

impl From<&holdlock::Error> for Failure {
    fn from(error: &holdlock::Error) -> Failure {
        Failure::new(code_of(error), message_of(error))
    }
}

fn code_of(error: &holdlock::Error) -> u8 {
    use holdlock::Error;
    match error {
        _ if error.is_conflict() => CONFLICT,
        Error::Deadlock { .. } => DEADLOCK,
        Error::Open { source, .. } => open_code(source),
        Error::Record { source, .. } => record_code(source),
        _ => OS_ERROR,
    }
}

/// The library's message, without a remedy that only a programmer can use.
fn message_of(error: &holdlock::Error) -> String {
    use rustix::io::Errno;
    let holdlock::Error::Open { path, source, .. } = error else {
        return in_words(error);
    };
    let remedy = match Errno::from_io_error(source) {
        Some(Errno::NOENT) => "; create its directory",
        Some(Errno::LOOP) => "; symbolic links are not followed; give the path of the file itself",
        _ => "",
    };
    format!(
        "cannot open the lock file {}: {}{remedy}",
        text::path(path),
        reason(source)
    )
}

fn in_words(error: &holdlock::Error) -> String {
    use holdlock::Error::{System, Unsupported};
    let message = error.to_string();
    match error {
        Unsupported { source, .. } | System { source, .. } => {
            message.replace(&source.to_string(), &reason(source))
        }
        _ => message,
    }
}

/// The code for a file that cannot be opened or created: because of the file, its place, or the
/// system.
pub(crate) fn open_code(error: &io::Error) -> u8 {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::NOSPC | Errno::ROFS | Errno::DQUOT) => CANNOT_CREATE,
        // The library found that the file system does not create files.
        None if error.kind() == io::ErrorKind::Unsupported => CANNOT_CREATE,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::IO) => OS_ERROR,
        _ => NO_INPUT,
    }
}

/// The code for a record that cannot be written. The file is there.
fn record_code(error: &io::Error) -> u8 {
    match open_code(error) {
        CANNOT_CREATE => NO_INPUT,
        code => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn place_file_and_system_have_codes_of_their_own() {
        let code = |errno: rustix::io::Errno| open_code(&errno.into());
        assert_eq!(code(rustix::io::Errno::ROFS), CANNOT_CREATE);
        assert_eq!(code(rustix::io::Errno::NOENT), CANNOT_CREATE);
        assert_eq!(code(rustix::io::Errno::ACCESS), NO_INPUT);
        assert_eq!(code(rustix::io::Errno::MFILE), OS_ERROR);
    }

    #[test]
    fn a_record_that_cannot_be_written_is_no_file_that_cannot_be_created() {
        for (errno, code) in [
            (rustix::io::Errno::NOSPC, NO_INPUT),
            (rustix::io::Errno::ROFS, NO_INPUT),
            (rustix::io::Errno::IO, OS_ERROR),
        ] {
            assert_eq!(record_code(&errno.into()), code);
        }
    }

    #[test]
    fn errors_are_words() {
        let missing = rustix::io::Errno::NOENT.into();
        assert_eq!(reason(&missing), "No such file or directory");
        assert_eq!(
            reason(&io::Error::other("why (os error 2)")),
            "why (os error 2)"
        );
    }
}
