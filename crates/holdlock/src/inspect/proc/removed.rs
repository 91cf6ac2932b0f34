//! Removed files on which somebody still holds a lock.
//!
//! The kernel's lock table has the number of a locked file, and the process that took the lock.
//! Whether that file was removed, and what it was called, only the descriptors of a process tell
//! that has it open. So every locked file of the same device is a candidate until the search
//! has seen that it is another one:
//!
//! 1. It has a name in a directory. Listing one clears many candidates at once.
//! 2. Its taker has it open by another name.
//! 3. Where the taker does not have it (any more), or the kernel does not name it, another process
//!    does. The search begins at those that were started at about the same time as the taker: the
//!    shell that ran flock(1), the child that has inherited the descriptor. Where it is not named,
//!    at those that were started last.
//!
//! What others lock must not make this slow. The search ends when its effort is spent, and on a
//! crowded host may have missed what it was looking for.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::candidates::Candidates;
use super::descriptors::{self, USUAL};
use super::place::Place;
use super::survey::{self, Survey};
use super::table::{Entry, Kind};
use super::{process, whole_table};
use crate::inspect::Snapshot;
use crate::sys::identity::Identity;
use crate::sys::process::exists;

/// How many lines of the lock table a search reads: 2 ms.
const LINES: usize = 2400;
/// How many descriptors it looks at, at 4 to 5 µs each; other steps count as so many of them.
const EFFORT: usize = 1000;
/// The same once it looks at all processes: what is missed then may be anywhere.
const EVERYBODY: usize = 4000;
const INFO: usize = 2;
const PROCESS: usize = 2;

/// A lock on a removed file, at a process that has the file open.
pub(crate) struct Found {
    pub(crate) pid: u32,
    pub(crate) place: Place,
    /// The way to the file: /proc/PID/fd/N.
    pub(crate) door: PathBuf,
}

/// A removed file that was at `path` and on which a living process holds a lock that meets `kind`,
/// as far as /proc shows it.
pub(crate) fn first(path: &Path, kind: Kind) -> io::Result<Option<Found>> {
    let Some(device) = device_above(path) else {
        return Ok(None);
    };
    let wanted =
        |entry: &Entry| entry.is_held() && entry.place.device() == device && entry.kind.meets(kind);
    let entries = whole_table::read_the_first(LINES, wanted)?;
    let listed = search(path, entries, wanted, 1).pop();
    if listed.is_none() && survey::in_other_namespace() {
        return Ok(unlisted(path, wanted));
    }
    Ok(listed)
}

/// In a PID namespace, as in a container, the kernel's table leaves out what was taken outside of
/// it, or by a process that has ended: a shell's lock that flock(1) took. Their descriptors tell.
fn unlisted(path: &Path, wanted: impl Fn(&Entry) -> bool) -> Option<Found> {
    let former = Former::of(path)?;
    let mut pids: Vec<u32> = process::pids().collect();
    nearest_first(&mut pids, &mut [process::newest().unwrap_or(0)]);
    let mut effort = EFFORT;
    for pid in pids {
        effort = effort.checked_sub(PROCESS)?;
        for (number, door) in descriptors::doors(pid).into_iter().flatten() {
            effort = effort.checked_sub(1)?;
            let link = fs::read_link(&door).unwrap_or_default();
            let is_it = descriptors::deleted(&link).is_some_and(|was| former.is(pid, was));
            if !is_it || !descriptors::has_no_name(&door) {
                continue;
            }
            let mut locks = descriptors::locks_by(pid, number, &link.into()).into_iter();
            if let Some(open) = locks.find(|open| wanted(&open.entry)) {
                let place = open.entry.place;
                return Some(Found { pid, place, door });
            }
        }
    }
    None
}

/// All of them among the files of these entries, which are of the same device.
pub(crate) fn among(path: &Path, on_device: Vec<Entry>) -> Snapshot {
    let wanted = |entry: &Entry| entry.is_held() && entry.kind != Kind::Lease;
    let held = on_device.iter().filter(|entry| wanted(entry)).cloned();
    let found = search(path, held.collect(), wanted, usize::MAX);
    let places: HashSet<Place> = found.into_iter().map(|found| found.place).collect();
    let mut survey = Survey::default();
    let of_found = on_device.into_iter();
    survey.take(
        of_found
            .filter(|entry| places.contains(&entry.place) && entry.kind != Kind::Lease)
            .collect(),
    );
    survey.finish()
}

fn search(
    path: &Path,
    mut held: Vec<Entry>,
    wanted: impl Fn(&Entry) -> bool,
    most: usize,
) -> Vec<Found> {
    // Who stands at the head of a queue does so on a file on which others hold the lock.
    held.retain(|entry| !entry.is_for_a_turn());
    let Some(first) = held.first() else {
        return Vec::new();
    };
    let Some(former) = Former::of(path) else {
        return Vec::new();
    };
    let mut search = Search {
        former,
        wanted,
        candidates: Candidates::new(first.place, held.iter().map(|entry| entry.place), EFFORT),
        found: Vec::new(),
        most,
    };
    search.go_on(path, held);
    search.found
}

/// The path of a removed file.
struct Former<'p> {
    name: &'p OsStr,
    directory: Identity,
}

impl Former<'_> {
    fn of(path: &Path) -> Option<Former<'_>> {
        let directory = directory(path)?;
        let name = path.file_name()?;
        Some(Former { name, directory })
    }

    /// Whether this is that path, as the process sees it, which may have other mounts and another
    /// root.
    fn is(&self, pid: u32, was: &Path) -> bool {
        if was.file_name() != Some(self.name) {
            return false;
        }
        let below_its_root = was.strip_prefix("/").unwrap_or(was);
        let as_we_see_it = Path::new(&format!("/proc/{pid}/root")).join(below_its_root);
        directory(&as_we_see_it) == Some(self.directory)
    }
}

struct Search<'p, W> {
    former: Former<'p>,
    wanted: W,
    candidates: Candidates,
    found: Vec<Found>,
    /// How many to find.
    most: usize,
}

/// What came of looking at a process.
#[derive(PartialEq)]
enum Seen {
    /// All that was asked about, or all of its descriptors.
    All,
    /// It belongs to somebody else.
    Denied,
    Gone,
}

impl<W: Fn(&Entry) -> bool> Search<'_, W> {
    fn go_on(&mut self, path: &Path, held: Vec<Entry>) {
        let mut lost = self.ask_takers(held);
        if lost.iter().any(|entry| entry.pid.is_some_and(exists)) {
            // Most often they were released meanwhile, or are taken again and again.
            lost = self.ask_takers(still_there(lost));
        }
        if lost.is_empty() {
            return;
        }
        if let Some(directory) = parent(path) {
            self.candidates.clear_named(directory);
        }
        self.ask_everybody(&lost);
    }

    fn is_over(&self) -> bool {
        self.found.len() >= self.most || self.candidates.is_over()
    }

    /// Looks at the takers of these locks. Returns the locks of which it does not know where
    /// they are.
    fn ask_takers(&mut self, mut held: Vec<Entry>) -> Vec<Entry> {
        let mut takers: HashMap<u32, Vec<Place>> = HashMap::new();
        for entry in &held {
            if let Some(pid) = entry.pid {
                takers.entry(pid).or_default().push(entry.place);
            }
        }
        let mut takers: Vec<(u32, Vec<Place>)> = takers.into_iter().collect();
        // Those with few locks first, and of them the latest.
        takers.sort_by_key(|(pid, places)| (places.len(), std::cmp::Reverse(*pid)));
        for (pid, mut places) in takers {
            if self.is_over() {
                return Vec::new();
            }
            if exists(pid) && self.look_at(pid, &mut places) == Seen::Denied {
                // The kernel's word is all there is.
                for place in places {
                    self.candidates.clear(place);
                }
            }
        }
        held.retain(|entry| self.candidates.contain(entry.place));
        held
    }

    /// Looks at all processes, those first that are most likely to have one of these locks.
    fn ask_everybody(&mut self, lost: &[Entry]) {
        let mut pids: Vec<u32> = process::pids().collect();
        self.candidates.allow(EVERYBODY);
        let newest = process::newest().unwrap_or(0);
        let mut hints: Vec<u32> = lost.iter().map(|it| it.pid.unwrap_or(newest)).collect();
        nearest_first(&mut pids, &mut hints);
        let mut places: Vec<Place> = lost.iter().map(|entry| entry.place).collect();
        for pid in pids {
            if self.is_over() || self.candidates.are_cleared(&mut places) {
                return;
            }
            self.look_at(pid, &mut places);
        }
    }

    /// Looks at the descriptors of a process, until all is known of these files.
    fn look_at(&mut self, pid: u32, places: &mut Vec<Place>) -> Seen {
        // To try the usual numbers takes less than to list the directory.
        for (number, door) in descriptors::usual_doors(pid) {
            if self.is_over() || self.candidates.are_cleared(places) {
                return Seen::All;
            }
            match fs::read_link(door) {
                Ok(link) => self.examine(pid, number, &link),
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    self.candidates.spend(1);
                    return Seen::Denied;
                }
                Err(_) => self.candidates.spend(1),
            }
        }
        self.candidates.spend(PROCESS);
        let doors = match descriptors::doors(pid) {
            Ok(doors) => doors,
            Err(_) if exists(pid) => return Seen::Denied,
            Err(_) => return Seen::Gone,
        };
        for (number, door) in doors.filter(|(number, _)| !USUAL.contains(number)) {
            if self.is_over() || self.candidates.are_cleared(places) {
                break;
            }
            match fs::read_link(door) {
                Ok(link) => self.examine(pid, number, &link),
                Err(_) => self.candidates.spend(1),
            }
        }
        Seen::All
    }

    /// Looks at what a descriptor is a link to.
    fn examine(&mut self, pid: u32, number: u32, link: &Path) {
        self.candidates.spend(1);
        if !descriptors::can_be_locked(link) || is_a_device(link) {
            return;
        }
        self.candidates.spend(INFO);
        let deleted = descriptors::deleted(link);
        for open in descriptors::locks_by(pid, number, &link.into()) {
            let place = open.entry.place;
            if !(self.wanted)(&open.entry) {
                continue;
            }
            if deleted.is_none() {
                // Also one that the table was too long for: others may be near it.
                self.candidates.seen(place, pid, link);
            }
            if !self.candidates.clear(place) {
                continue;
            }
            let door = descriptors::door(pid, "fd", number);
            let is_it = deleted.is_some_and(|was| self.former.is(pid, was));
            if is_it && descriptors::has_no_name(&door) {
                self.found.push(Found { pid, place, door });
            }
        }
    }
}

/// Those locks that are (again) held.
fn still_there(entries: Vec<Entry>) -> Vec<Entry> {
    let entries: HashSet<Entry> = entries.into_iter().collect();
    let there = whole_table::read_the_first(LINES, |entry| entries.contains(entry));
    there.unwrap_or_default()
}

/// Sorts process numbers by how far they are from the nearest of the other ones.
fn nearest_first(pids: &mut [u32], hints: &mut [u32]) {
    hints.sort_unstable();
    pids.sort_by_key(|pid| distance(hints, *pid));
}

/// How far a process's number is from the nearest of these, which are sorted.
fn distance(hints: &[u32], pid: u32) -> u32 {
    let at = hints.partition_point(|hint| *hint < pid);
    let around = hints[at.saturating_sub(1)..].iter().take(2);
    around.map(|hint| hint.abs_diff(pid)).min().unwrap_or(0)
}

/// Nearly every process has some of these open, and nobody removes them.
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

/// The device of a path's directory, as /proc/locks has it.
pub(crate) fn device_above(path: &Path) -> Option<(u32, u32)> {
    Some(Place::of(parent(path)?).ok()?.device())
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
