//! Acquiring the locks: one, or several in an order that cannot deadlock.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use holdlock::inspect::{self, Kind};
use holdlock::{CancelToken, FileLock, Guard, LockOptions, Request, Waiting};

use super::deadlock::{self, Ancestor};
use super::inherited;
use super::progress::Display;
use super::reentrant;
use super::watch::{Subject, Watch};
use super::{Course, Patience, Settings};
use crate::exit::{self, DEADLOCK, Failure};
use crate::lockdir::{self, Names};
use crate::namesakes;
use crate::sys::range;

/// NFS_SUPER_MAGIC, as statfs(2) has it.
const NFS: rustix::fs::FsWord = 0x6969;

/// A lock, and the name by which the user called it.
pub(super) struct Lock {
    pub(super) name: OsString,
    pub(super) file: FileLock,
}

/// Opens the lock files, creating missing ones. Several are put into the order of their device and
/// inode numbers: processes that acquire locks in the same order wait in no cycle. One file by two
/// names is acquired once. A lock that this job holds already is left out with --reentrant.
pub(super) fn open(settings: &Settings, course: &mut Course) -> Result<Vec<Lock>, Failure> {
    let names = &settings.locks;
    let mut options = LockOptions::new().fair(settings.fair);
    if settings.names == Names::System {
        options = options.permissions(lockdir::MODE_FOR_ALL);
    }
    let locations = names
        .iter()
        .map(|name| lockdir::locate_among(name, settings.names))
        .collect::<Result<Vec<_>, _>>()?;
    let mut locks = Vec::with_capacity(locations.len());
    for (name, location) in names.iter().zip(locations) {
        course.locks.push(location.path.clone());
        location.prepare()?;
        if !settings.quiet {
            namesakes::warn(name, &location);
        }
        locks.push(Lock {
            name: name.clone(),
            file: options.open(&location.path)?,
        });
    }
    if locks.len() > 1 {
        // A file that was removed just now is created anew, and its place in the order is not
        // known.
        locks.sort_by_cached_key(|lock| identity(&lock.file));
        locks.dedup_by_key(|lock| identity(&lock.file).ok_or_else(|| lock.file.path().to_owned()));
    }
    course.locks.clear();
    course
        .locks
        .extend(locks.iter().map(|lock| lock.file.path().to_owned()));
    if settings.reentrant {
        locks.retain(|lock| !reentrant::is_held_by_us(&lock.file));
    }
    Ok(locks)
}

fn identity(lock: &FileLock) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(lock.path()).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Acquires all of them, or no lock, within one time limit.
pub(super) fn take<'l>(
    locks: &'l [Lock],
    settings: &Settings,
    course: &mut Course,
) -> Result<Vec<Guard<'l>>, Failure> {
    let began = Instant::now();
    let deadline = match settings.patience {
        Patience::For(limit) if !limit.is_zero() => began.checked_add(limit),
        _ => None,
    };
    let mut guards = Vec::with_capacity(locks.len());
    for lock in locks {
        let taken = take_one(lock, settings, began, deadline);
        course.waited = began.elapsed();
        let guard = taken.map_err(|stopped| match stopped {
            Stopped::Error(error) => course.not_taken(&error, settings),
            Stopped::Deadlock(ancestor) => {
                course.outcome = "deadlock";
                Failure::new(DEADLOCK, deadlock::message(ancestor, &lock.file))
            }
        })?;
        if !settings.quiet {
            warn_of_other_family(&guard, lock);
        }
        guards.push(guard);
    }
    Ok(guards)
}

/// Warns if a process has locked the file by fcntl(2), which does not exclude this holdlock:
/// probably nobody wants that.
fn warn_of_other_family(guard: &Guard<'_>, lock: &Lock) {
    // Over NFS flock(2) is a lock of fcntl(2) on the server: there they do exclude each other.
    let is_nfs = || rustix::fs::fstatfs(guard).is_ok_and(|fs| fs.f_type == NFS);
    if !range::is_locked(guard.as_fd()) || is_nfs() {
        return;
    }
    let snapshot = inspect::file(lock.file.path()).unwrap_or_default();
    let locks = snapshot.files.iter().flat_map(|file| &file.locks);
    let mut others = locks.filter(|lock| lock.kind.meets(Kind::Ofd));
    let holder = others.find_map(|lock| lock.holders.first());
    let by = holder.map_or_else(String::new, |holder| format!(" by {}", holder.process));
    exit::warn(&format!(
        "warning: {} is also locked through fcntl(2){by}, which does not exclude flock(2): \
         let all programs use the same kind of lock",
        lock.file.path().display()
    ));
}

enum Stopped {
    Error(holdlock::Error),
    Deadlock(Ancestor),
}

/// Acquires one lock, and has the wait watched if there is one.
fn take_one<'l>(
    lock: &'l Lock,
    settings: &Settings,
    began: Instant,
    deadline: Option<Instant>,
) -> Result<Guard<'l>, Stopped> {
    let token = CancelToken::new();
    let mut watched = None;
    let mut on_wait = |what| {
        if what == Waiting::Began {
            inherited::let_go(&lock.file);
            let subject = Subject {
                lock: lock.file.clone(),
                mode: settings.mode,
                began,
                token: token.clone(),
            };
            let display = Display::new(settings, &lock.name, began);
            watched = Some(Watch::start(subject, display));
        }
        ControlFlow::Continue(())
    };
    let request = Request::new(settings.mode)
        .cancel(&token)
        .on_wait(&mut on_wait)
        .notice_deadlocks(true);
    let request = match (&settings.patience, deadline) {
        (_, Some(deadline)) => request.deadline(deadline),
        (Patience::Endless, None) => request,
        _ => request.try_once(),
    };
    let taken = lock.file.acquire(request);
    let ancestor = watched.and_then(|watch| watch.end(taken.is_ok()));
    taken.map_err(|error| match (error, ancestor) {
        (holdlock::Error::Cancelled { .. }, Some(ancestor)) => Stopped::Deadlock(ancestor),
        (error, _) => Stopped::Error(error),
    })
}
