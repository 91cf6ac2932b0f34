//! The locks that processes have open, from /proc/PID/fdinfo: who can release them,
//! whoever took them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::table::{self, Entry};
use super::{ancestors, parallel, proc_file, process};
use crate::inspect::OpenLock;
use crate::sys::process::exists;

/// A lock on a file that a process has open.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) descriptor: u32,
    pub(crate) entry: Entry,
    /// What /proc says the descriptor is a link to.
    link: Arc<Path>,
}

/// What came of looking at a process.
#[derive(Clone, Debug)]
pub(crate) enum Look {
    /// Its locks; all of them, unless only some were looked for.
    Seen(Vec<Open>),
    /// It belongs to somebody else.
    Denied,
    /// There is no such process, or it is a zombie.
    Gone,
}

/// The processes looked at so far.
#[derive(Default)]
pub(crate) struct Descriptors {
    known: HashMap<u32, Look>,
    /// Those of which not all is known.
    partly: HashSet<u32>,
    everybody: bool,
    our_mounts: Option<Option<PathBuf>>,
    elsewhere: HashMap<u32, bool>,
}

impl Descriptors {
    pub(crate) fn of(&mut self, pid: u32) -> &Look {
        self.known.entry(pid).or_insert_with(|| look(pid, &[]))
    }

    /// Looks for these locks, which these processes are said to have taken; at each no further
    /// when all of its are found.
    pub(crate) fn look_for(&mut self, mut takers: Vec<(u32, Vec<&Entry>)>) {
        takers.retain(|(pid, _)| !self.known.contains_key(pid));
        let looks = parallel::ask(&takers, |(pid, wanted)| look(*pid, wanted));
        for ((pid, _), look) in takers.iter().zip(looks) {
            self.known.insert(*pid, look);
            self.partly.insert(*pid);
        }
    }

    /// Looks at all processes. Some hundred microseconds for ten of them.
    pub(crate) fn look_at_everybody(&mut self) {
        if !std::mem::replace(&mut self.everybody, true) {
            for pid in self.partly.drain() {
                self.known.remove(&pid);
            }
            let mut pids: Vec<u32> = process::pids().collect();
            pids.retain(|pid| !self.known.contains_key(pid));
            let looks = parallel::ask(&pids, |pid| look(*pid, &[]));
            self.known.extend(pids.into_iter().zip(looks));
        }
    }

    /// Looks at all processes for copies of descriptors: of those that /proc says are such links.
    /// Copies have the same one, wherever they are.
    pub(crate) fn look_for_copies(&mut self, links: &HashSet<PathBuf>) {
        let pids: Vec<u32> = process::pids().collect();
        let looks = parallel::ask(&pids, |pid| seen(*pid, copies(*pid, links)));
        self.known.extend(pids.into_iter().zip(looks));
    }

    /// The processes that we may not look at, of those looked at.
    pub(crate) fn denied(&self) -> Vec<u32> {
        let known = self.known.iter();
        let denied = known.filter(|(_, look)| matches!(look, Look::Denied));
        denied.map(|(pid, _)| *pid).collect()
    }

    /// Everything seen so far, in the order of the process numbers.
    pub(crate) fn seen(&self) -> Vec<(u32, &Open)> {
        let mut all: Vec<(u32, &Open)> = self
            .known
            .iter()
            .filter_map(|(pid, look)| match look {
                Look::Seen(open) => Some((*pid, open)),
                _ => None,
            })
            .flat_map(|(pid, open)| open.iter().map(move |open| (pid, open)))
            .collect();
        all.sort_by_key(|(pid, open)| (*pid, open.descriptor));
        all
    }
}

/// The numbers of a process's descriptors, the lowest first, and the way to each. They are read
/// as they are asked for.
pub(crate) fn doors(pid: u32) -> io::Result<impl Iterator<Item = (u32, PathBuf)>> {
    let of = |thread: u32| fs::read_dir(format!("/proc/{thread}/fd")).map(Iterator::peekable);
    let mut files = of(pid);
    // Of a first thread that has ended root alone may look, and sees nothing.
    let has_ended = match &mut files {
        Ok(files) => files.peek().is_none(),
        Err(_) => ancestors::is_zombie(pid),
    };
    if has_ended && let Some(thread) = another_thread(pid) {
        files = of(thread);
    }
    let number = |file: fs::DirEntry| {
        let descriptor = file.file_name().to_str()?.parse().ok()?;
        Some((descriptor, file.path()))
    };
    Ok(files?.flatten().filter_map(number))
}

/// What is in a process's directory for one descriptor (`fd`) or about it (`fdinfo`).
pub(crate) fn door(pid: u32, directory: &str, descriptor: u32) -> PathBuf {
    let of = |thread: u32| PathBuf::from(format!("/proc/{thread}/{directory}/{descriptor}"));
    let first = of(pid);
    if fs::symlink_metadata(&first).is_ok() {
        return first;
    }
    another_thread(pid).map_or(first, of)
}

/// A thread that goes on although the first one of its process has ended: then /proc
/// tells of the first that it has nothing open any more.
fn another_thread(pid: u32) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let mut numbers = threads.filter_map(|thread| thread.file_name().to_str()?.parse().ok());
    numbers.find(|number| *number != pid)
}

fn look(pid: u32, wanted: &[&Entry]) -> Look {
    seen(pid, locks(pid, wanted))
}

fn seen(pid: u32, locks: io::Result<Vec<Open>>) -> Look {
    match locks {
        Ok(open) => Look::Seen(open),
        // A zombie holds nothing, whosever it is.
        Err(_) if has_ended(pid) => Look::Gone,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Look::Denied,
        // /proc may be mounted so that it hides the processes of others (hidepid).
        Err(_) if exists(pid) => Look::Denied,
        Err(_) => Look::Gone,
    }
}

fn has_ended(pid: u32) -> bool {
    ancestors::is_zombie(pid) && another_thread(pid).is_none()
}

/// Whether it is still a process that can hold anything.
pub(crate) fn is_alive(pid: u32) -> bool {
    exists(pid) && !has_ended(pid)
}

/// Whether we still may not look at the process. A refusal may have come only because it was ending.
pub(crate) fn is_denied(pid: u32) -> bool {
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => exists(pid),
        // With hidepid, the whole directory is hidden.
        Err(_) => exists(pid) && ancestors::start_time(pid).is_none(),
    }
}

/// Where most programs have their lock files open: to try these numbers takes less than to list
/// the directory.
pub(crate) const USUAL: std::ops::Range<u32> = 3..10;

/// The locks of a process, up to the last of those wanted, or all of them.
fn locks(pid: u32, wanted: &[&Entry]) -> io::Result<Vec<Open>> {
    if !wanted.is_empty() {
        let (found, complete) = search(pid, usual_doors(pid), wanted)?;
        if complete {
            return Ok(found);
        }
    }
    // The highest first: what a process locks it mostly has opened itself, and last.
    let mut doors: Vec<(u32, PathBuf)> = doors(pid)?.collect();
    doors.reverse();
    let (mut found, _) = search(pid, doors, wanted)?;
    found.reverse();
    Ok(found)
}

pub(crate) fn usual_doors(pid: u32) -> impl Iterator<Item = (u32, PathBuf)> {
    USUAL.map(move |number| (number, PathBuf::from(format!("/proc/{pid}/fd/{number}"))))
}

/// The locks behind these doors, and whether all that were wanted are among them: then it ends.
fn search(
    pid: u32,
    doors: impl IntoIterator<Item = (u32, PathBuf)>,
    wanted: &[&Entry],
) -> io::Result<(Vec<Open>, bool)> {
    let mut missing = wanted.to_vec();
    let mut found = Vec::new();
    for (descriptor, door) in doors {
        // To read a link takes a quarter of the time that fdinfo takes.
        let link = match fs::read_link(door) {
            Ok(link) if can_be_locked(&link) => link,
            // Root without CAP_SYS_PTRACE may list descriptors, but not look what they are.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            _ => continue,
        };
        for open in locks_by(pid, descriptor, &link.into()) {
            // One of them: it may have the same lock twice, by two descriptors.
            let is_it = |wanted: &&Entry| open.entry.is_same_lock(wanted);
            if let Some(at) = missing.iter().position(is_it) {
                missing.swap_remove(at);
            }
            found.push(open);
        }
        if missing.is_empty() && !wanted.is_empty() {
            return Ok((found, true));
        }
    }
    Ok((found, false))
}

/// The locks of a process on what it has open by one of these links.
fn copies(pid: u32, wanted: &HashSet<PathBuf>) -> io::Result<Vec<Open>> {
    let links = doors(pid)?.filter_map(|(number, door)| Some((number, fs::read_link(door).ok()?)));
    let locks = links
        .filter(|(_, link)| wanted.contains(link))
        .flat_map(|(descriptor, link)| locks_by(pid, descriptor, &link.into()));
    Ok(locks.collect())
}

/// What /proc says that a descriptor of a process is a link to.
pub(crate) fn link(pid: u32, descriptor: u32) -> Option<PathBuf> {
    fs::read_link(door(pid, "fd", descriptor)).ok()
}

/// The locks of a process, in the public form.
pub(crate) fn locks_of(pid: u32) -> io::Result<Vec<OpenLock>> {
    let public = |open: Open| OpenLock {
        descriptor: open.descriptor,
        place: open.entry.place,
        kind: open.entry.kind,
        mode: open.entry.mode,
        range: open.entry.range,
    };
    let locks = locks(pid, &[])?.into_iter();
    let locks = locks.filter(|open| !open.entry.is_for_a_turn());
    Ok(locks.map(public).collect())
}

/// The locks on what a descriptor has open.
pub(crate) fn locks_by(pid: u32, descriptor: u32, link: &Arc<Path>) -> Vec<Open> {
    let info = proc_file::read_text(format!("/proc/{pid}/fdinfo/{descriptor}"));
    let info = info.or_else(|_| proc_file::read_text(door(pid, "fdinfo", descriptor)));
    let info = info.unwrap_or_default();
    let entries = info
        .lines()
        .filter_map(|line| table::parse(line.strip_prefix("lock:")?));
    entries
        .map(|entry| Open {
            descriptor,
            entry,
            link: link.clone(),
        })
        .collect()
}

/// Sockets, pipes and what else has no path are left out.
pub(crate) fn can_be_locked(link: &Path) -> bool {
    let link = link.as_os_str().as_bytes();
    link.starts_with(b"/") || link.starts_with(b"(unreachable)")
}

/// The path before it was removed, if it was: a file that is there may be called so.
pub(crate) fn deleted(link: &Path) -> Option<&Path> {
    let was = link.as_os_str().as_bytes().strip_suffix(b" (deleted)")?;
    Some(Path::new(OsStr::from_bytes(was)))
}

/// Whether what is open there was removed.
pub(crate) fn has_no_name(door: &Path) -> bool {
    fs::metadata(door).is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Where a file is that a process has open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whereabouts {
    pub(crate) path: PathBuf,
    pub(crate) removed: bool,
    /// The path is one of another mount namespace than ours.
    pub(crate) elsewhere: bool,
}

impl Descriptors {
    pub(crate) fn whereabouts(&mut self, pid: u32, open: &Open) -> Whereabouts {
        let has_no_name = |_: &&Path| has_no_name(&door(pid, "fd", open.descriptor));
        let was = deleted(&open.link).filter(has_no_name);
        Whereabouts {
            removed: was.is_some(),
            path: was.unwrap_or(&open.link).to_owned(),
            elsewhere: self.is_elsewhere(pid),
        }
    }

    fn is_elsewhere(&mut self, pid: u32) -> bool {
        let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let ours = &self
            .our_mounts
            .get_or_insert_with(|| namespace(std::process::id()));
        *self
            .elsewhere
            .entry(pid)
            .or_insert_with(|| namespace(pid) != **ours)
    }
}
