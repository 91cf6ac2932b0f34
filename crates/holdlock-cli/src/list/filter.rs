//! The filter of `list`: which locks the user asked for.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use holdlock::inspect::{Kind, Lock, LockedFile, Process, Range, Waiter};

use crate::exit::{Failure, NO_INPUT, reason};
use crate::lockdir::{self, Names};
use crate::show::spot::{self, Spot};
use crate::show::text;

/// The wanted locks: for each list that is not empty, a lock has to match one of its items.
#[derive(Debug)]
pub(crate) struct Filter {
    /// Names or paths.
    pub(crate) locks: Vec<OsString>,
    pub(crate) names: Names,
    pub(crate) pids: Vec<u32>,
    pub(crate) users: Vec<String>,
    pub(crate) kinds: Vec<String>,
    pub(crate) waiting: bool,
}

/// A filter whose names and paths have been resolved.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    spots: Vec<Spot>,
    pids: Vec<u32>,
    users: Vec<String>,
    kinds: Vec<String>,
    waiting: bool,
}

impl Filter {
    /// Resolves the names and paths to files, and checks that the users exist.
    pub(super) fn prepared(self) -> Result<Prepared, Failure> {
        let users = self.users.iter().map(|user| known(user));
        let spots = self.locks.iter().map(|lock| spot(lock, self.names));
        Ok(Prepared {
            spots: spots.collect::<Result<_, _>>()?,
            pids: self.pids,
            users: users.collect::<Result<_, _>>()?,
            kinds: self.kinds,
            waiting: self.waiting,
        })
    }
}

/// `.` and `..` cannot be names, so they are the directories.
fn spot(lock: &OsString, names: Names) -> Result<Spot, Failure> {
    match lock.to_str() {
        Some("." | "..") => Spot::of(Path::new(lock)),
        _ => Spot::of(&lockdir::locate_among(lock, names)?.trusted()?),
    }
}

/// The user's name, or the number as processes have it: `007` is user 7. Names come from
/// /etc/passwd alone, as those of processes do.
fn known(user: &str) -> Result<String, Failure> {
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    let is_name = |line: &[u8]| line.split(|byte| *byte == b':').next() == Some(user.as_bytes());
    if !user.is_empty() && passwd.split(|byte| *byte == b'\n').any(is_name) {
        return Ok(user.to_owned());
    }
    if let Ok(number) = user.parse::<u32>() {
        return Ok(number.to_string());
    }
    Err(Failure::usage(format!(
        "--user {}: no such user in /etc/passwd; give a name from there, or a number",
        text::printable(user)
    )))
}

impl Prepared {
    /// Gives paths to files without one, if the filter's names and paths have them.
    pub(super) fn name(&self, files: &mut [LockedFile]) {
        spot::name(files, &self.spots);
    }

    /// A path without a file is an error, unless a removed file of that path is locked.
    pub(super) fn has_all(&self, files: &[LockedFile]) -> Result<(), Failure> {
        for spot in &self.spots {
            if let Some(error) = spot.trouble()
                && !files.iter().any(|file| spot.has(file))
            {
                let (path, error) = (text::path(spot.path()), reason(error));
                return Err(Failure::new(
                    NO_INPUT,
                    format!("no lock at {path}: {error}"),
                ));
            }
        }
        Ok(())
    }

    /// The file with only the wanted locks and requests. None if there are no such locks or
    /// requests.
    pub(super) fn reduced(&self, file: &LockedFile) -> Option<LockedFile> {
        if !self.wants_file(file) {
            return None;
        }
        let mut file = file.clone();
        file.locks.retain(|lock| self.wants_lock(lock));
        file.waiters.retain(|waiter| self.wants_waiter(waiter));
        (!file.locks.is_empty() || !file.waiters.is_empty()).then_some(file)
    }

    pub(super) fn wants_file(&self, file: &LockedFile) -> bool {
        let here = self.spots.is_empty() || self.spots.iter().any(|spot| spot.has(file));
        here && (!self.waiting || !file.waiters.is_empty())
    }

    pub(super) fn wants_lock(&self, lock: &Lock) -> bool {
        // A taker that has ended is not among the holders, but the user may ask for its pid.
        let taken = lock.taker.is_some_and(|taker| self.pids.contains(&taker));
        let kept = lock
            .holders
            .iter()
            .any(|holder| self.wants(&holder.process));
        let anybody = self.pids.is_empty() && self.users.is_empty();
        self.wants_kind(lock.kind) && (anybody || kept || taken && self.users.is_empty())
    }

    pub(super) fn wants_waiter(&self, waiter: &Waiter) -> bool {
        let anybody = self.pids.is_empty() && self.users.is_empty();
        let wanted = waiter.process.as_ref().is_some_and(|one| self.wants(one));
        self.wants_kind(waiter.kind) && (anybody || wanted)
    }

    /// Whether the filter wants this process.
    pub(super) fn wants(&self, process: &Process) -> bool {
        let is = |user: &String| {
            process.user.as_ref() == Some(user)
                || process.uid.is_some_and(|uid| uid.to_string() == *user)
        };
        (self.pids.is_empty() || self.pids.contains(&process.pid))
            && (self.users.is_empty() || self.users.iter().any(is))
    }

    fn wants_kind(&self, kind: Kind) -> bool {
        self.kinds.is_empty() || self.kinds.contains(&kind.to_string())
    }
}

/// Whether the request has to wait while the lock is held.
pub(super) fn is_in_the_way(lock: &Lock, waiter: &Waiter) -> bool {
    use holdlock::Mode::Shared;
    let together = lock.mode == Shared && waiter.mode == Shared;
    let same_bytes = Range::overlaps(lock.range, waiter.range);
    if waiter.is_for_a_slot() && lock.kind == Kind::Flock {
        // A holder of a slot, or of the exclusive lock.
        return lock.slot.is_some() || lock.mode != Shared;
    }
    lock.kind.meets(waiter.kind) && same_bytes && !together
}
