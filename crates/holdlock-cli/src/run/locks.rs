//! Opening and acquiring the locks: one, or several at once.

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Instant;

use holdlock::inspect::{self, Kind};
use holdlock::{CancelToken, FileLock, Guard, LockOptions, LockSet, Request, Waiting};

use super::deadlock;
use super::inherited;
use super::memory;
use super::progress::Display;
use super::reentrant;
use super::watch::{Subject, Watch, What};
use super::{Course, Patience, Settings};
use crate::exit::{self, DEADLOCK, Failure};
use crate::lockdir::{self, Names};
use crate::namesakes;
use crate::sys::range;

/// NFS_SUPER_MAGIC, as statfs(2) has it.
const NFS: rustix::fs::FsWord = 0x6969;

/// A lock, and the name by which the user called it.
struct Lock {
    name: OsString,
    file: FileLock,
}

/// The locks of a run.
pub(super) struct Locks {
    list: Vec<Lock>,
    set: LockSet,
}

/// Opens the lock files, and creates missing ones; with their records if asked for. With
/// --reentrant, a lock that this job already holds is left out.
pub(super) fn open(
    settings: &Settings,
    course: &mut Course,
    with_record: bool,
) -> Result<Locks, Failure> {
    let names = &settings.locks;
    let mut options = LockOptions::new().fair(settings.fair);
    if settings.names == Names::System {
        options = options.permissions(lockdir::MODE_FOR_ALL);
    }
    let locations = names
        .iter()
        .map(|name| lockdir::locate_among(name, settings.names))
        .collect::<Result<Vec<_>, _>>()?;
    let mut list = Vec::with_capacity(locations.len());
    for (name, location) in names.iter().zip(locations) {
        if course.locks.contains(&location.path) {
            continue;
        }
        course.locks.push(location.path.clone());
        location.prepare()?;
        // The second attempt, without a record, says it no more.
        if !settings.quiet && with_record {
            namesakes::warn(name, &location);
        }
        list.push(Lock {
            name: name.clone(),
            file: if with_record {
                memory::open(&options, &location.path, settings)
                    .map_err(|error| memory::failure(&error, settings))?
            } else {
                options.open(&location.path)?
            },
        });
    }
    if settings.reentrant {
        list.retain(|lock| !reentrant::is_held_by_us(&lock.file));
    }
    let set = list.iter().map(|lock| (&lock.file, settings.mode));
    let set = set.collect();
    Ok(Locks { list, set })
}

/// Acquires all of them, or no lock, within one time limit, and has the wait watched if there is
/// one. A second attempt goes on with the wait of the first one.
pub(super) fn take<'l>(
    locks: &'l Locks,
    settings: &Settings,
    course: &mut Course,
) -> Result<Vec<Guard<'l>>, Failure> {
    let now = Instant::now();
    let began = now.checked_sub(course.waited).unwrap_or(now);
    let token = CancelToken::new();
    let mut watch: Option<Watch> = None;
    let mut let_go = vec![false; locks.list.len()];
    let mut on_wait = |what| {
        if let Waiting::For(number) = what {
            let lock = &locks.list[number];
            if !std::mem::replace(&mut let_go[number], true) {
                inherited::let_go(lock.file.path());
            }
            let subject = Subject {
                path: lock.file.path().to_owned(),
                name: lock.name.clone(),
                what: What::Lock(settings.mode),
                token: token.clone(),
            };
            match &watch {
                Some(watch) => watch.turn_to(subject),
                None => watch = Some(Watch::start(subject, Display::new(settings, began))),
            }
        }
        ControlFlow::Continue(())
    };
    let request = Request::new(settings.mode)
        .cancel(&token)
        .on_wait(&mut on_wait)
        .notice_deadlocks(true);
    let request = match &settings.memory.note {
        Some(note) => request.note(note),
        None => request,
    };
    let request = match settings.patience {
        Patience::Endless => request,
        Patience::For(limit) if !limit.is_zero() => {
            request.timeout(limit.saturating_sub(course.waited))
        }
        Patience::For(_) | Patience::None => request.try_once(),
    };
    let taken = locks.set.acquire(request);
    course.waited = began.elapsed();
    let ancestor = watch.and_then(|watch| watch.end(taken.is_ok()));
    let guard = taken.map_err(|error| match (&error, ancestor) {
        (holdlock::Error::Cancelled { .. }, Some(ancestor)) => {
            course.outcome = "deadlock";
            Failure::new(DEADLOCK, deadlock::message(ancestor, error.path()))
        }
        _ => course.not_taken(&error, settings),
    })?;
    let guards = guard.into_guards();
    if !settings.quiet {
        guards.iter().for_each(warn_of_other_family);
    }
    Ok(guards)
}

/// Warns if a process has locked the file by fcntl(2), which does not exclude this holdlock:
/// probably nobody wants that.
fn warn_of_other_family(guard: &Guard<'_>) {
    // Over NFS flock(2) is a lock of fcntl(2) on the server: there they do exclude each other.
    let is_nfs = || rustix::fs::fstatfs(guard).is_ok_and(|fs| fs.f_type == NFS);
    if !range::is_locked(guard.as_fd()) || is_nfs() {
        return;
    }
    let snapshot = inspect::file(guard.path()).unwrap_or_default();
    let locks = snapshot.files.iter().flat_map(|file| &file.locks);
    let mut others = locks.filter(|lock| lock.kind.meets(Kind::Ofd));
    let holder = others.find_map(|lock| lock.holders.first());
    let by = holder.map_or_else(String::new, |holder| format!(" by {}", holder.process));
    exit::warn(&format!(
        "warning: {} is also locked through fcntl(2){by}, which does not exclude flock(2): \
         let all programs use the same kind of lock",
        guard.path().display()
    ));
}
