//! Removed files on which somebody still holds a lock.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::Path;

use super::descriptors;
use super::place::Place;
use super::survey::Survey;
use super::table::{Entry, Kind};
use super::{Snapshot, process, whole_table};
use crate::sys::file::{self, Identity};
use crate::sys::process::exists;

/// The removed files that were at `path` and on which a living process holds a lock that
/// meets `kind`, as far as /proc shows them.
pub(crate) fn look(path: &Path, kind: Kind) -> io::Result<Snapshot> {
    let Some(device) = device_above(path) else {
        return Ok(Snapshot::default());
    };
    let wanted = |entry: &Entry| entry.place.device() == device && entry.kind.meets(kind);
    Ok(among(path, whole_table::read_quickly(wanted)?, wanted))
}

/// Those among the files of these entries, which are of the same device.
pub(super) fn among(
    path: &Path,
    on_device: Vec<Entry>,
    wanted: impl Fn(&Entry) -> bool,
) -> Snapshot {
    let Some((name, directory)) = path.file_name().zip(directory(path)) else {
        return Snapshot::default();
    };
    let mut on_device: Vec<Entry> = on_device.into_iter().filter(wanted).collect();
    if let Some(directory) = parent(path) {
        leave_out_named(directory, &mut on_device);
    }
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
pub(super) fn device_above(path: &Path) -> Option<(u32, u32)> {
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

/// To look at so many takers costs less than to list a directory.
const FEW: usize = 8;

/// Leaves out the files that have a name in the directory: they are not removed.
fn leave_out_named(directory: &Path, on_device: &mut Vec<Entry>) {
    let held = on_device.iter().filter(|entry| entry.is_held()).count();
    if held <= FEW || !tells_inodes(directory) {
        return;
    }
    // No further where there are many more names than locks.
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    let named: HashSet<u64> = names.take(16 * held).map(|name| name.ino()).collect();
    on_device.retain(|entry| !named.contains(&entry.place.inode));
}

/// Whether a listing has the inode numbers that the kernel's lock table has.
fn tells_inodes(directory: &Path) -> bool {
    file::open_for_name(directory).is_ok_and(|it| !file::hides_its_device(it.as_fd()))
}
