//! Searches for removed files on which a process still holds a lock.
//!
//! The kernel's lock table has the inode number of a locked file, and the process that took the
//! lock. Only the descriptors of a process that has the file open show whether the file was
//! removed, and what its path was. So every locked file on the same device is a candidate until the
//! search finds that it is another file:
//!
//! 1. The candidate has a name in a directory. Listing a directory rules out many candidates at
//!    once.
//! 2. The taker of the lock has the file open under another name.
//! 3. If the taker does not have the file open, or if the kernel does not name the taker, another
//!    process has the file open. The search begins with the processes that were started at about
//!    the same time as the taker: the shell that ran flock(1), or the child that has inherited the
//!    descriptor. If the taker is unknown, the search begins with the processes that were started
//!    last.
//!
//! The locks of other programs must not make this search slow. The search ends when its budget is
//! spent. So on a crowded host it may miss the file.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::candidates::Candidates;
use super::descriptors;
use super::file_id::FileId;
use super::survey::{self, Survey};
use super::table::{Kind, TableEntry};
use super::{process, whole_table};
use crate::inspect::snapshot::Snapshot;
use crate::sys::identity::Identity;
use crate::sys::process::exists;

/// How many lines of the lock table a search reads. They take 2 ms.
const LINES: usize = 2400;
/// How many descriptors a search looks at. Each takes 4 to 5 µs. Other steps cost as much as
/// several descriptors.
const BUDGET: usize = 1000;
/// The budget of the search among all processes. A file that this search misses may be anywhere.
const BUDGET_FOR_ALL_PROCESSES: usize = 4000;
const COST_OF_FDINFO: usize = 2;
const COST_OF_PROCESS: usize = 2;

/// A removed file, and a process that has it open and holds a lock on it.
pub(crate) struct RemovedFile {
    pub(crate) pid: u32,
    pub(crate) file_id: FileId,
    /// The link to the file: /proc/PID/fd/N.
    pub(crate) fd_link: PathBuf,
}

/// Finds a removed file that was at `path` and on which a process holds a lock that can exclude
/// locks of `kind`. The search is limited, and depends on what /proc shows to the caller.
pub(crate) fn first(path: &Path, kind: Kind) -> io::Result<Option<RemovedFile>> {
    let Some(device) = device_above(path) else {
        return Ok(None);
    };
    let wanted = |entry: &TableEntry| {
        entry.is_held() && entry.file_id.device() == device && entry.kind.meets(kind)
    };
    let entries = whole_table::read_the_first(LINES, wanted)?;
    let listed = search(path, entries, wanted, 1).pop();
    if listed.is_none() && survey::in_other_namespace() {
        return Ok(unlisted(path, wanted));
    }
    Ok(listed)
}

/// Finds a lock that the kernel's table does not list. In a PID namespace, for example in a
/// container, the table omits locks that were taken outside of the namespace, and locks whose taker
/// has ended, such as a shell's lock that flock(1) took. The descriptors show these locks.
fn unlisted(path: &Path, wanted: impl Fn(&TableEntry) -> bool) -> Option<RemovedFile> {
    let former = FormerPath::of(path)?;
    let mut pids: Vec<u32> = process::pids().collect();
    nearest_first(&mut pids, &mut [process::newest().unwrap_or(0)]);
    let mut budget = BUDGET;
    for pid in pids {
        budget = budget.checked_sub(COST_OF_PROCESS)?;
        for (number, fd_link) in descriptors::list(pid).into_iter().flatten() {
            budget = budget.checked_sub(1)?;
            let link = fs::read_link(&fd_link).unwrap_or_default();
            let is_it = descriptors::deleted(&link).is_some_and(|was| former.is(pid, was));
            if !is_it || !descriptors::has_no_name(&fd_link) {
                continue;
            }
            let mut locks = descriptors::locks_by(pid, number, &link.into()).into_iter();
            if let Some(open) = locks.find(|open| wanted(&open.entry)) {
                let file_id = open.entry.file_id;
                return Some(RemovedFile {
                    pid,
                    file_id,
                    fd_link,
                });
            }
        }
    }
    None
}

/// Finds all removed files that were at `path`, among the files of these entries, which are all on
/// the same device.
pub(crate) fn among(path: &Path, on_device: Vec<TableEntry>) -> Snapshot {
    let wanted = |entry: &TableEntry| entry.is_held() && entry.kind != Kind::Lease;
    let held = on_device.iter().filter(|entry| wanted(entry)).cloned();
    let found = search(path, held.collect(), wanted, usize::MAX);
    let file_ids: HashSet<FileId> = found.into_iter().map(|found| found.file_id).collect();
    let mut survey = Survey::default();
    let of_found = on_device.into_iter();
    survey.add(
        of_found
            .filter(|entry| file_ids.contains(&entry.file_id) && entry.kind != Kind::Lease)
            .collect(),
    );
    survey.finish()
}

fn search(
    path: &Path,
    mut held: Vec<TableEntry>,
    wanted: impl Fn(&TableEntry) -> bool,
    most: usize,
) -> Vec<RemovedFile> {
    // A request at the head of a queue has its entry on a file on which another process holds the
    // lock.
    held.retain(|entry| !entry.is_for_a_turn());
    let Some(first) = held.first() else {
        return Vec::new();
    };
    let Some(former) = FormerPath::of(path) else {
        return Vec::new();
    };
    let mut search = Search {
        former,
        wanted,
        candidates: Candidates::new(
            first.file_id,
            held.iter().map(|entry| entry.file_id),
            BUDGET,
        ),
        found: Vec::new(),
        most,
    };
    search.run(path, held);
    search.found
}

/// The path of a removed file.
struct FormerPath<'p> {
    name: &'p OsStr,
    directory: Identity,
}

impl FormerPath<'_> {
    fn of(path: &Path) -> Option<FormerPath<'_>> {
        let directory = directory(path)?;
        let name = path.file_name()?;
        Some(FormerPath { name, directory })
    }

    /// Whether `was` is that path. `was` is a path as the process sees it, and the process may have
    /// other mounts and another root.
    fn is(&self, pid: u32, was: &Path) -> bool {
        if was.file_name() != Some(self.name) {
            return false;
        }
        let below_its_root = was.strip_prefix("/").unwrap_or(was);
        let as_seen_by = |thread: u32| {
            directory(&Path::new(&format!("/proc/{thread}/root")).join(below_its_root))
        };
        // A first thread that has ended has no root directory.
        let its = as_seen_by(pid).or_else(|| descriptors::another_thread(pid).and_then(as_seen_by));
        its == Some(self.directory)
    }
}

struct Search<'p, W> {
    former: FormerPath<'p>,
    wanted: W,
    candidates: Candidates,
    found: Vec<RemovedFile>,
    /// How many files to find.
    most: usize,
}

/// How a look at a process has ended.
#[derive(PartialEq)]
enum ScanEnd {
    /// The look is complete: the process has no more descriptors, or there is nothing left to find.
    Complete,
    /// The process belongs to another user.
    Denied,
    Gone,
}

impl<W: Fn(&TableEntry) -> bool> Search<'_, W> {
    fn run(&mut self, path: &Path, held: Vec<TableEntry>) {
        let mut unlocated = self.search_takers(held);
        if unlocated.iter().any(|entry| entry.pid.is_some_and(exists)) {
            // Most often these locks were released meanwhile, or their takers release and take them
            // again and again.
            unlocated = self.search_takers(still_held(unlocated));
        }
        if unlocated.is_empty() {
            return;
        }
        if let Some(directory) = parent(path) {
            self.candidates.rule_out_named(directory);
        }
        self.search_all_processes(&unlocated);
    }

    fn is_over(&self) -> bool {
        self.found.len() >= self.most || self.candidates.is_over()
    }

    /// Looks at the takers of these locks. Returns the locks that it did not find there.
    fn search_takers(&mut self, mut held: Vec<TableEntry>) -> Vec<TableEntry> {
        let mut takers: HashMap<u32, Vec<FileId>> = HashMap::new();
        for entry in &held {
            if let Some(pid) = entry.pid {
                takers.entry(pid).or_default().push(entry.file_id);
            }
        }
        let mut takers: Vec<(u32, Vec<FileId>)> = takers.into_iter().collect();
        // Takers with few locks come first; of takers with equally many locks, the youngest comes
        // first.
        takers.sort_by_key(|(pid, file_ids)| (file_ids.len(), std::cmp::Reverse(*pid)));
        for (pid, mut file_ids) in takers {
            if self.is_over() {
                return Vec::new();
            }
            if exists(pid) && self.look_at(pid, &mut file_ids) == ScanEnd::Denied {
                // The caller may not look at this process, so the kernel's entry is the only
                // evidence.
                for file_id in file_ids {
                    self.candidates.rule_out(file_id);
                }
            }
        }
        held.retain(|entry| self.candidates.contain(entry.file_id));
        held
    }

    /// Looks at all processes. The processes that are most likely to have one of these locks come
    /// first.
    fn search_all_processes(&mut self, unlocated: &[TableEntry]) {
        let mut pids: Vec<u32> = process::pids().collect();
        self.candidates.set_budget(BUDGET_FOR_ALL_PROCESSES);
        let newest = process::newest().unwrap_or(0);
        let mut hints: Vec<u32> = unlocated
            .iter()
            .map(|it| it.pid.unwrap_or(newest))
            .collect();
        nearest_first(&mut pids, &mut hints);
        let mut file_ids: Vec<FileId> = unlocated.iter().map(|entry| entry.file_id).collect();
        for pid in pids {
            if self.is_over() || self.candidates.are_ruled_out(&mut file_ids) {
                return;
            }
            self.look_at(pid, &mut file_ids);
        }
    }

    /// Looks at the descriptors of a process, until all of `places` are found or ruled out.
    fn look_at(&mut self, pid: u32, file_ids: &mut Vec<FileId>) -> ScanEnd {
        // Trying the usual numbers takes less time than listing the directory. If the first thread
        // has ended, none of them is there, or looking is denied; the list knows other threads.
        let mut seen = Vec::new();
        for (number, fd_link) in descriptors::usual_descriptors(pid) {
            if self.is_over() || self.candidates.are_ruled_out(file_ids) {
                return ScanEnd::Complete;
            }
            match fs::read_link(fd_link) {
                Ok(link) => {
                    self.examine(pid, number, &link);
                    seen.push(number);
                }
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.candidates.spend(1);
                    break;
                }
                Err(_) => self.candidates.spend(1),
            }
        }
        self.candidates.spend(COST_OF_PROCESS);
        let fd_links = match descriptors::list(pid) {
            Ok(fd_links) => fd_links,
            Err(_) if exists(pid) => return ScanEnd::Denied,
            Err(_) => return ScanEnd::Gone,
        };
        for (number, fd_link) in fd_links.filter(|(number, _)| !seen.contains(number)) {
            if self.is_over() || self.candidates.are_ruled_out(file_ids) {
                break;
            }
            match fs::read_link(fd_link) {
                Ok(link) => self.examine(pid, number, &link),
                // Root without CAP_SYS_PTRACE may list the descriptors, but not read their links.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.candidates.spend(1);
                    return ScanEnd::Denied;
                }
                Err(_) => self.candidates.spend(1),
            }
        }
        ScanEnd::Complete
    }

    /// Looks at the file to which a descriptor links.
    fn examine(&mut self, pid: u32, number: u32, link: &Path) {
        self.candidates.spend(1);
        if !descriptors::can_be_locked(link) || is_a_device(link) {
            return;
        }
        self.candidates.spend(COST_OF_FDINFO);
        let deleted = descriptors::deleted(link);
        for open in descriptors::locks_by(pid, number, &link.into()) {
            let file_id = open.entry.file_id;
            if !(self.wanted)(&open.entry) {
                continue;
            }
            if deleted.is_none() {
                // The file may be one that was not read from the long table. It still counts:
                // candidates may be in the same directory.
                self.candidates.note_name(file_id, pid, link);
            }
            if !self.candidates.rule_out(file_id) {
                continue;
            }
            let fd_link = descriptors::path_in_proc(pid, "fd", number);
            let is_it = deleted.is_some_and(|was| self.former.is(pid, was));
            if is_it && descriptors::has_no_name(&fd_link) {
                self.found.push(RemovedFile {
                    pid,
                    file_id,
                    fd_link,
                });
            }
        }
    }
}

/// The locks that are still held, or held again.
fn still_held(entries: Vec<TableEntry>) -> Vec<TableEntry> {
    let entries: HashSet<TableEntry> = entries.into_iter().collect();
    let there = whole_table::read_the_first(LINES, |entry| entries.contains(entry));
    there.unwrap_or_default()
}

/// Sorts pids by their distance to the nearest of `hints`.
fn nearest_first(pids: &mut [u32], hints: &mut [u32]) {
    hints.sort_unstable();
    pids.sort_by_key(|pid| distance(hints, *pid));
}

/// The distance of a pid to the nearest of `hints`, which are sorted.
fn distance(hints: &[u32], pid: u32) -> u32 {
    let at = hints.partition_point(|hint| *hint < pid);
    let around = hints[at.saturating_sub(1)..].iter().take(2);
    around.map(|hint| hint.abs_diff(pid)).min().unwrap_or(0)
}

/// Whether the link leads to a device that nearly every process has open and that no process
/// removes.
fn is_a_device(link: &Path) -> bool {
    link == Path::new("/dev/null") || link.starts_with("/dev/pts")
}

fn directory(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(parent(path)?).ok()?;
    Some(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

/// The device of the directory of a path, as in /proc/locks.
pub(crate) fn device_above(path: &Path) -> Option<(u32, u32)> {
    Some(FileId::of(parent(path)?).ok()?.device())
}

fn parent(path: &Path) -> Option<&Path> {
    let parent = path.parent()?;
    Some(if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_processes_come_first() {
        let mut pids = vec![5, 100, 101, 250, 300, 900];
        nearest_first(&mut pids, &mut [299, 102]);
        assert_eq!(pids, [101, 300, 100, 250, 5, 900]);
        assert_eq!(distance(&[7], 7), 0);
        assert_eq!(distance(&[], 7), 0);
    }
}
