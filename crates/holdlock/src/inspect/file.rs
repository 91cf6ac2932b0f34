//! The locks on one file.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::descriptors;
use super::place::Place;
use super::survey::{Survey, in_other_namespace};
use super::table::{self, Entry, Kind, Table};
use super::{LockedFile, Process, Snapshot, process};
use crate::sys::file::{self, Identity};
use crate::sys::process::exists;

/// How often a table is read at most to be sure that a lock is not in it.
const READS: u32 = 3;

/// The file at a path, and removed ones which were there.
pub(super) fn look(path: &Path) -> io::Result<Snapshot> {
    let place = match file::open_for_name(path) {
        Ok(file) => Some(Place::of_open(file.as_fd())?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let device = device_above(path);
    let table = read(
        |entry| Some(entry.place) == place || device == Some(entry.place.device()),
        place,
    )?;
    let (here, on_device) = table
        .entries
        .into_iter()
        .partition(|entry| Some(entry.place) == place);
    let mut snapshot = at(here, place);
    let removed = removed_files(path, on_device, |entry| entry.kind != Kind::Lease);
    snapshot.files.extend(removed.files);
    Ok(snapshot)
}

fn at(entries: Vec<Entry>, place: Option<Place>) -> Snapshot {
    let mut survey = Survey::default();
    survey.take(entries);
    if !survey.has_entries() && in_other_namespace() {
        survey.take_unlisted(|entry| Some(entry.place) == place);
    }
    survey.finish()
}

/// Reads the table, and again where a lock on `place` may have been missed.
fn read(wanted: impl Fn(&Entry) -> bool, place: Option<Place>) -> io::Result<Table> {
    let mut source = table::Source::open()?;
    let mut table = source.read(&wanted)?;
    for _ in 1..READS {
        let found = table.entries.iter().any(|entry| Some(entry.place) == place);
        if found && !table.again || place.is_none() && !table.torn {
            break;
        }
        source.settle()?;
        table = source.read(&wanted)?;
        if !table.torn {
            break;
        }
    }
    Ok(table)
}

fn file_at(place: Place) -> io::Result<Option<LockedFile>> {
    let table = read(|entry| entry.place == place, Some(place))?;
    Ok(at(table.entries, Some(place)).files.pop())
}

/// The processes that hold a lock on this file, of whichever kind.
pub(crate) fn holders(place: Place) -> io::Result<Vec<Process>> {
    let file = file_at(place)?;
    Ok(file.map_or_else(Vec::new, |file| {
        file.holders().into_iter().cloned().collect()
    }))
}

/// The processes that wait for a lock on this file, in the order of the queue.
pub(crate) fn waiters(place: Place) -> io::Result<Vec<Process>> {
    let file = file_at(place)?;
    let waiters = file.map_or_else(Vec::new, |file| file.waiters);
    Ok(waiters
        .into_iter()
        .filter_map(|waiter| waiter.process)
        .collect())
}

/// The files for which somebody waits, if one of `kept` is among them.
pub(crate) fn contended(kept: &HashSet<Place>) -> io::Result<Option<Snapshot>> {
    let entries = table::read(|_| true)?.entries;
    let waiting = entries.iter().filter(|entry| !entry.is_held());
    let contended: HashSet<Place> = waiting.map(|entry| entry.place).collect();
    if contended.is_disjoint(kept) {
        return Ok(None);
    }
    let mut survey = Survey::default();
    let entries = entries.into_iter();
    survey.take(
        entries
            .filter(|entry| contended.contains(&entry.place))
            .collect(),
    );
    Ok(Some(survey.finish()))
}

/// Removed files that were at `path` and on which a living process holds a lock that
/// meets `kind`, as far as /proc shows them.
pub(crate) fn removed(path: &Path, kind: Kind) -> io::Result<Snapshot> {
    let Some(device) = device_above(path) else {
        return Ok(Snapshot::default());
    };
    let wanted = |entry: &Entry| entry.place.device() == device && entry.kind.meets(kind);
    let table = table::read(wanted)?;
    Ok(removed_files(path, table.entries, wanted))
}

fn removed_files(path: &Path, on_device: Vec<Entry>, wanted: impl Fn(&Entry) -> bool) -> Snapshot {
    let Some((name, directory)) = path.file_name().zip(directory(path)) else {
        return Snapshot::default();
    };
    let on_device: Vec<Entry> = on_device.into_iter().filter(wanted).collect();
    if !on_device.iter().any(Entry::is_held) {
        return Snapshot::default();
    }
    let mut places = HashSet::new();
    let locked: HashSet<Place> = on_device.iter().map(|entry| entry.place).collect();
    let mut look_at = |pid: u32, taken: &[&Entry]| {
        for (was, open) in descriptors::on_removed(pid, name, taken) {
            let place = open.entry.place;
            if locked.contains(&place) && directory_of(pid, &was) == Some(directory) {
                places.insert(place);
            }
        }
    };
    let mut takers: HashMap<Option<u32>, Vec<&Entry>> = HashMap::new();
    for entry in on_device.iter().filter(|entry| entry.is_held()) {
        takers.entry(entry.pid).or_default().push(entry);
    }
    for (pid, taken) in &takers {
        if let Some(pid) = pid {
            look_at(*pid, taken);
        }
    }
    // The taker is not told, or gone and survived by a child: look at everybody.
    let is_gone = |taker: &Option<u32>| taker.is_none_or(|pid| !exists(pid));
    if takers.keys().any(is_gone) {
        process::pids().for_each(|pid| look_at(pid, &[]));
    }
    let mut survey = Survey::default();
    let entries = on_device.into_iter();
    survey.take(
        entries
            .filter(|entry| places.contains(&entry.place))
            .collect(),
    );
    survey.finish()
}

/// The directory of a path, as the process sees it, which may have other mounts and
/// another root.
fn directory_of(pid: u32, path: &Path) -> Option<Identity> {
    let below_its_root = path.strip_prefix("/").unwrap_or(path);
    directory(&Path::new(&format!("/proc/{pid}/root")).join(below_its_root))
}

fn directory(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(parent(path)?).ok()?;
    Some(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

/// The device of a path's directory, as /proc/locks has it.
fn device_above(path: &Path) -> Option<(u32, u32)> {
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
