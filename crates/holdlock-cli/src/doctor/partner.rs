//! A process that locks and unlocks on order. Locks are tried between two such partners.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use holdlock::Family;
use rustix::io::{FdFlags, fcntl_setfd};

use super::{family, internal, myself, temporary};
use crate::exit::{self, Failure, Outcome, reason};
use crate::show::output::print;
use crate::sys::range::{self, Kind};

/// The hidden subcommand by which a worker starts its partners.
pub(crate) const PARTNER: &str = "__doctor-partner";

const KINDS: [(Kind, &str); 3] = [
    (Kind::Exclusive, "exclusive"),
    (Kind::Shared, "shared"),
    (Kind::Unlock, "unlock"),
];

/// Reads an order and writes the answer, until the orders end.
pub(crate) fn obey(mut words: impl Iterator<Item = OsString>) -> Outcome {
    let misused = || internal(PARTNER);
    let number = words.next().ok_or_else(misused)?;
    let number = number.to_str().and_then(|number| number.parse().ok());
    let family = words.next().ok_or_else(misused)?;
    let family = family
        .to_str()
        .and_then(family::named)
        .ok_or_else(misused)?;
    let file = temporary::open_number(number.ok_or_else(misused)?)
        .map_err(|error| Failure::system("cannot open the file", error))?;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|error| Failure::system("cannot read", error))?;
        let kind = KINDS.iter().find(|(_, word)| *word == line);
        let (kind, _) = kind.ok_or_else(misused)?;
        let answer = match family {
            Family::Flock => range::flock_now(file.as_raw_fd(), *kind),
            _ => range::lock(file.as_raw_fd(), *kind, false, (0, 0)),
        };
        let answer = match answer {
            Ok(()) => "yes".to_owned(),
            // fcntl(2) fails with either of these, flock(2) with the first.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                "no".to_owned()
            }
            Err(error) => format!("error {}", reason(&error)),
        };
        print(&format!("{answer}\n"))?;
    }
    Ok(exit::SUCCESS)
}

/// A partner as the worker sees it.
pub(super) struct Partner {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Partner {
    /// The partner opens the same file anew, by its copy of the descriptor.
    pub(super) fn start(file: &File, family: Family) -> Result<Partner, String> {
        let failed = |error: io::Error| format!("cannot start a process: {}", reason(&error));
        fcntl_setfd(file, FdFlags::empty()).map_err(|error| failed(error.into()))?;
        let mut child = myself()
            .arg(PARTNER)
            .arg(file.as_raw_fd().to_string())
            .arg(family::name(family))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let stdout = child
            .stdout
            .take()
            .ok_or("a process of the trial has no output")?;
        Ok(Partner {
            orders: child.stdin.take(),
            answers: BufReader::new(stdout),
            child,
        })
    }

    /// Orders the partner to lock or unlock. False: another process has the lock.
    pub(super) fn does(&mut self, kind: Kind) -> Result<bool, String> {
        let word = KINDS[kind as usize].1;
        let gone = |error: io::Error| {
            let error = reason(&error);
            format!("a process of the trial has ended: {error}")
        };
        if let Some(orders) = &mut self.orders {
            writeln!(orders, "{word}").map_err(gone)?;
        }
        let mut answer = String::new();
        self.answers.read_line(&mut answer).map_err(gone)?;
        match answer.trim_end() {
            "yes" => Ok(true),
            "no" => Ok(false),
            "" => Err("a process of the trial could not open the file".to_owned()),
            other => Err(other.strip_prefix("error ").unwrap_or(other).to_owned()),
        }
    }

    /// Kills it, as `kill -9` does, and waits for its end.
    pub(super) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.end();
    }
}
