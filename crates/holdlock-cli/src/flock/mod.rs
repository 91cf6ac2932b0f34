//! flock(1) of util-linux, behind the same program.
//!
//! Thousands of scripts call flock(1) and read its messages, so everything that they can see is the
//! same: texts, streams, exit codes, descriptor numbers. This program opens the lock file itself
//! instead of using the library, which refuses symbolic links and hides the descriptor that a
//! command inherits here.
//!
//! | file | idea |
//! |---|---|
//! | `getopt` | the command line as options and words, as getopt_long(3) splits it |
//! | `flags` | the options |
//! | `options` | the meaning of the words |
//! | `number`, `seconds` | numbers, as strtol(3) and strtold(3) read them |
//! | `open` | the lock file |
//! | `take` | the lock |
//! | `command` | the command |
//! | `say` | the two output streams, and the end of the program |

mod command;
mod flags;
mod getopt;
mod help;
mod number;
mod open;
mod options;
mod say;
mod seconds;
mod take;

use std::ffi::CStr;

pub(crate) use help::HELP;
use options::{Options, Target};
use say::{Say, Stop};

/// Exit codes, of `sysexits.h`.
mod status {
    pub(super) const USAGE: u8 = 64;
    pub(super) const LOCK_ERROR: u8 = 65;
    pub(super) const NO_INPUT: u8 = 66;
    pub(super) const NOT_EXECUTED: u8 = 69;
    pub(super) const OS_ERROR: u8 = 71;
    pub(super) const CANNOT_CREATE: u8 = 73;
}

/// The number of words before flock's own name. None: the program is not called as flock.
pub(crate) fn words_before(name: Option<&CStr>, first: Option<&CStr>) -> Option<usize> {
    let name = name?.to_bytes();
    let file = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    if file == b"flock" {
        Some(0)
    } else if first.is_some_and(|word| word.to_bytes() == b"flock") {
        Some(1)
    } else {
        None
    }
}

/// flock(1) with its arguments, its name first. Returns the exit code.
pub(crate) fn flock(words: &[&'static CStr]) -> u8 {
    let mut say = Say::default();
    let code = match options::parse(words, &mut say).and_then(|options| run(&options, &mut say)) {
        Ok(code) => code,
        Err(Stop { code, message }) => {
            if let Some(message) = message {
                say.warn(&message);
            }
            code
        }
    };
    say.finish(code)
}

fn run(options: &Options, say: &mut Say) -> Result<u8, Stop> {
    let mut lock = match options.target {
        Target::File(path) => open::open(path, options.open_for_writing())?,
        Target::Descriptor(fd) => open::Opened::inherited(fd),
    };
    take::take(options, &mut lock, say)?;
    match &options.command {
        Some(words) => command::run(words, options, lock.fd, say),
        None => Ok(0),
    }
}
