//! Finds the locks on the open files of processes, from /proc/PID/fdinfo. These processes can
//! release the locks, whichever process took them.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::table::{self, TableEntry};
use super::{ancestors, parallel, proc_file, process};
use crate::inspect::snapshot::OpenLock;
use crate::sys::directory;
use crate::sys::process::{exists, have_different_descriptors};

/// A lock on a file that a process has open by a descriptor.
#[derive(Clone, Debug)]
pub(crate) struct DescriptorLock {
    pub(crate) descriptor: u32,
    pub(crate) entry: TableEntry,
    /// The path to which the descriptor links in /proc.
    link: Arc<Path>,
}

/// The result of a look at a process.
#[derive(Clone, Debug)]
pub(crate) enum ScanResult {
    /// The locks of the process. All of them, unless the look was for certain locks only.
    Seen(Vec<DescriptorLock>),
    /// The process belongs to another user, or is hidden, or not all of its descriptors were seen.
    Denied,
    /// There is no such process, or it is a zombie.
    Gone,
}

/// The results of the looks at processes so far.
#[derive(Default)]
pub(crate) struct Descriptors {
    known: HashMap<u32, ScanResult>,
    /// The processes of which some locks may be unknown.
    partly_known: HashSet<u32>,
    all_processes: bool,
    our_mounts: Option<Option<PathBuf>>,
    elsewhere: HashMap<u32, bool>,
}

impl Descriptors {
    pub(crate) fn of(&mut self, pid: u32) -> &ScanResult {
        self.known.entry(pid).or_insert_with(|| scan(pid, &[]))
    }

    /// Looks for certain locks at the processes that took them. Stops at a process when all of its
    /// wanted locks are found.
    pub(crate) fn look_for(&mut self, mut takers: Vec<(u32, Vec<&TableEntry>)>) {
        takers.retain(|(pid, _)| !self.known.contains_key(pid));
        let looks = parallel::map(&takers, |(pid, wanted)| scan(*pid, wanted));
        for ((pid, _), look) in takers.iter().zip(looks) {
            self.known.insert(*pid, look);
            self.partly_known.insert(*pid);
        }
    }

    /// Looks at all processes. Takes some hundred microseconds for ten of them.
    pub(crate) fn scan_all_processes(&mut self) {
        if !std::mem::replace(&mut self.all_processes, true) {
            for pid in self.partly_known.drain() {
                self.known.remove(&pid);
            }
            let mut pids: Vec<u32> = process::pids().collect();
            pids.retain(|pid| !self.known.contains_key(pid));
            let looks = parallel::map(&pids, |pid| scan(*pid, &[]));
            self.known.extend(pids.into_iter().zip(looks));
        }
    }

    /// Looks at all processes for copies of descriptors: descriptors with one of these links in
    /// /proc. All copies of a descriptor have the same link.
    pub(crate) fn look_for_copies(&mut self, links: &HashSet<PathBuf>) {
        let pids: Vec<u32> = process::pids().collect();
        let looks = parallel::map(&pids, |pid| match scan_result(*pid, copies(*pid, links)) {
            ScanResult::Seen(open) if open.is_empty() && has_unseen_descriptors(*pid) => {
                ScanResult::Denied
            }
            look => look,
        });
        self.known.extend(pids.into_iter().zip(looks));
    }

    /// The processes that the caller may not look at, of those looked at.
    pub(crate) fn denied(&self) -> Vec<u32> {
        let known = self.known.iter();
        let denied = known.filter(|(_, look)| matches!(look, ScanResult::Denied));
        denied.map(|(pid, _)| *pid).collect()
    }

    /// Whether one of the processes looked at so far has this lock.
    pub(crate) fn have(&self, entry: &TableEntry) -> bool {
        self.known.values().any(|look| match look {
            ScanResult::Seen(open) => open.iter().any(|open| open.entry.is_same_lock(entry)),
            _ => false,
        })
    }

    /// All locks found so far, in the order of the pids.
    pub(crate) fn all_locks(&self) -> Vec<(u32, &DescriptorLock)> {
        let mut all: Vec<(u32, &DescriptorLock)> = self
            .known
            .iter()
            .filter_map(|(pid, look)| match look {
                ScanResult::Seen(open) => Some((*pid, open)),
                _ => None,
            })
            .flat_map(|(pid, open)| open.iter().map(move |open| (pid, open)))
            .collect();
        all.sort_by_key(|(pid, open)| (*pid, open.descriptor));
        all
    }
}

/// The descriptors of a process, each with its link in /proc. The iterator reads the directory as
/// it goes.
pub(crate) fn list(pid: u32) -> io::Result<impl Iterator<Item = (u32, PathBuf)>> {
    let mut of = pid;
    let numbers = |thread| directory::numbers(format!("/proc/{thread}/fd")).map(Iterator::peekable);
    let mut files = numbers(of);
    // If the first thread of a process has ended, only root may look at its directory, which is
    // empty.
    let has_ended = match &mut files {
        Ok(files) => files.peek().is_none(),
        Err(_) => ancestors::is_zombie(pid),
    };
    if has_ended && let Some(thread) = another_thread(pid) {
        of = thread;
        files = numbers(of);
    }
    let link = move |number| PathBuf::from(format!("/proc/{of}/fd/{number}"));
    Ok(files?.map(move |number| (number, link(number))))
}

/// The path of an entry for one descriptor in a directory of the process: in `fd` or `fdinfo`.
pub(crate) fn path_in_proc(pid: u32, directory: &str, descriptor: u32) -> PathBuf {
    let of = |thread: u32| PathBuf::from(format!("/proc/{thread}/{directory}/{descriptor}"));
    let first = of(pid);
    if fs::symlink_metadata(&first).is_ok() {
        return first;
    }
    another_thread(pid).map_or(first, of)
}

/// Whether a thread of the process has a descriptor table of its own (unshare(2) with CLONE_FILES),
/// which /proc/PID/fd does not show.
fn has_unseen_descriptors(pid: u32) -> bool {
    let threads = directory::numbers(format!("/proc/{pid}/task"));
    let mut threads = threads.into_iter().flatten();
    threads.any(|thread| thread != pid && have_different_descriptors(pid, thread))
}

/// A thread of the process other than the first one. If the first thread has ended, /proc shows for
/// it no open files, although the process continues.
pub(crate) fn another_thread(pid: u32) -> Option<u32> {
    let mut numbers = directory::numbers(format!("/proc/{pid}/task")).ok()?;
    numbers.find(|number| *number != pid)
}

fn scan(pid: u32, wanted: &[&TableEntry]) -> ScanResult {
    scan_result(pid, locks(pid, wanted))
}

fn scan_result(pid: u32, locks: io::Result<Vec<DescriptorLock>>) -> ScanResult {
    match locks {
        Ok(open) => ScanResult::Seen(open),
        // A zombie holds nothing, whether or not the caller may look at it.
        Err(_) if has_ended(pid) => ScanResult::Gone,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => ScanResult::Denied,
        // /proc may be mounted with hidepid, which hides processes of other users.
        Err(_) if exists(pid) => ScanResult::Denied,
        Err(_) => ScanResult::Gone,
    }
}

fn has_ended(pid: u32) -> bool {
    ancestors::is_zombie(pid) && another_thread(pid).is_none()
}

/// Whether the process can still hold a lock.
pub(crate) fn is_alive(pid: u32) -> bool {
    exists(pid) && !has_ended(pid)
}

/// Whether we still may not look at the process. A refusal may have come only because it was
/// ending.
pub(crate) fn is_denied(pid: u32) -> bool {
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => exists(pid),
        // With hidepid, the whole directory is hidden.
        Err(_) => exists(pid) && ancestors::start_time(pid).is_none(),
    }
}

/// Most programs have their lock files open at these numbers. Trying them takes less time than
/// listing the directory.
const USUAL: std::ops::Range<u32> = 3..10;

/// The locks of a process: all of them, or the locks up to the last of those wanted.
fn locks(pid: u32, wanted: &[&TableEntry]) -> io::Result<Vec<DescriptorLock>> {
    // If the first thread has ended, this look may be denied, and the list is not.
    if !wanted.is_empty()
        && let Ok((found, true)) = search(pid, usual_descriptors(pid), wanted)
    {
        return Ok(found);
    }
    // The highest numbers come first: a process mostly opens its lock files itself, after the files
    // that it has inherited.
    let mut fd_links: Vec<(u32, PathBuf)> = list(pid)?.collect();
    fd_links.reverse();
    let (mut found, _) = search(pid, fd_links, wanted)?;
    found.reverse();
    Ok(found)
}

pub(crate) fn usual_descriptors(pid: u32) -> impl Iterator<Item = (u32, PathBuf)> {
    USUAL.map(move |number| (number, PathBuf::from(format!("/proc/{pid}/fd/{number}"))))
}

/// The locks of these descriptors. Stops when all wanted locks are found, and returns whether they
/// are.
fn search(
    pid: u32,
    fd_links: impl IntoIterator<Item = (u32, PathBuf)>,
    wanted: &[&TableEntry],
) -> io::Result<(Vec<DescriptorLock>, bool)> {
    let mut missing = wanted.to_vec();
    let mut found = Vec::new();
    for (descriptor, fd_link) in fd_links {
        // Reading a link takes a quarter of the time of reading fdinfo.
        let link = match fs::read_link(fd_link) {
            Ok(link) if can_be_locked(&link) => link,
            // Root without CAP_SYS_PTRACE may list the descriptors, but not read their links.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            _ => continue,
        };
        for open in locks_by(pid, descriptor, &link.into()) {
            // Counts one: the process may have the same lock twice, by two descriptors.
            let is_it = |wanted: &&TableEntry| open.entry.is_same_lock(wanted);
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

/// The locks of a process on the descriptors with one of these links.
fn copies(pid: u32, wanted: &HashSet<PathBuf>) -> io::Result<Vec<DescriptorLock>> {
    let links =
        list(pid)?.filter_map(|(number, fd_link)| Some((number, fs::read_link(fd_link).ok()?)));
    let locks = links
        .filter(|(_, link)| wanted.contains(link))
        .flat_map(|(descriptor, link)| locks_by(pid, descriptor, &link.into()));
    Ok(locks.collect())
}

/// The path to which a descriptor links in /proc.
pub(crate) fn link(pid: u32, descriptor: u32) -> Option<PathBuf> {
    fs::read_link(path_in_proc(pid, "fd", descriptor)).ok()
}

/// The locks of a process, as a public type.
pub(crate) fn locks_of(pid: u32) -> io::Result<Vec<OpenLock>> {
    let public = |open: DescriptorLock| OpenLock {
        descriptor: open.descriptor,
        file_id: open.entry.file_id,
        kind: open.entry.kind,
        mode: open.entry.mode,
        range: open.entry.range,
        slot: open.entry.range.as_slot().filter(|_| open.entry.is_slot()),
    };
    let locks = locks(pid, &[])?.into_iter();
    let is_for_others =
        |open: &DescriptorLock| open.entry.is_for_a_turn() || open.entry.slot_count().is_some();
    let locks = locks.filter(|open| !is_for_others(open));
    Ok(locks.map(public).collect())
}

/// The locks on the open file of a descriptor.
pub(crate) fn locks_by(pid: u32, descriptor: u32, link: &Arc<Path>) -> Vec<DescriptorLock> {
    let info = proc_file::read_text(format!("/proc/{pid}/fdinfo/{descriptor}"));
    let info = info.or_else(|_| proc_file::read_text(path_in_proc(pid, "fdinfo", descriptor)));
    let info = info.unwrap_or_default();
    let entries = info
        .lines()
        .filter_map(|line| table::parse(line.strip_prefix("lock:")?));
    entries
        .map(|entry| DescriptorLock {
            descriptor,
            entry,
            link: link.clone(),
        })
        .collect()
}

/// Whether the link is a path. Sockets and pipes, for example, have no path.
pub(crate) fn can_be_locked(link: &Path) -> bool {
    let link = link.as_os_str().as_bytes();
    link.starts_with(b"/") || link.starts_with(b"(unreachable)")
}

/// The path of the file before it was removed. A file that was not removed may have such a name
/// too.
pub(crate) fn deleted(link: &Path) -> Option<&Path> {
    let was = link.as_os_str().as_bytes().strip_suffix(b" (deleted)")?;
    Some(Path::new(OsStr::from_bytes(was)))
}

/// Whether the open file was removed: it has no name left.
pub(crate) fn has_no_name(fd_link: &Path) -> bool {
    fs::metadata(fd_link).is_ok_and(|metadata| metadata.nlink() == 0)
}

/// Where the open file of a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    pub(crate) removed: bool,
    /// The path belongs to another mount namespace than ours.
    pub(crate) elsewhere: bool,
}

impl Descriptors {
    pub(crate) fn location(&mut self, pid: u32, open: &DescriptorLock) -> Location {
        let has_no_name = |_: &&Path| has_no_name(&path_in_proc(pid, "fd", open.descriptor));
        let was = deleted(&open.link).filter(has_no_name);
        Location {
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
            // A process that has ended meanwhile was most likely in our namespace.
            .or_insert_with(|| namespace(pid).is_some_and(|its| Some(its) != **ours))
    }
}
