//! A lock file that was removed while it is held.
//!
//! No file lock can stop a stranger who removes the file of a lock that is held:
//! the next process finds no file, creates one, and locks *that*. But whoever is
//! about to create a missing lock file can look first whether some process still
//! holds a lock on a deleted file of that very name.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::Family;
use crate::inspect::{self, Process};
use crate::sys::file::{Identity, device_numbers};

/// A living holder of a deleted file.
pub(crate) struct Orphan {
    pub(crate) holder: Process,
    pub(crate) identity: Identity,
    /// The way to the deleted file: /proc/PID/fd/N.
    pub(crate) door: PathBuf,
}

/// The living holder of a deleted file that was at `path`, as far as /proc shows it.
///
/// One read of /proc/locks, which takes 0.05 ms, or some milliseconds when nobody
/// has read it for a while. Where locks are held on that file system, the
/// descriptors of the processes that hold them are looked at, too.
pub(crate) fn find(path: &Path, family: Family) -> Option<Orphan> {
    let name = path.file_name()?;
    let directory = identity(path.parent()?)?;
    let on_device = inspect::entries(|entry| {
        !entry.waiting
            && entry.kind.meets(family)
            && entry.device == device_numbers(directory.device)
    })
    .ok()?;
    if on_device.is_empty() {
        return None;
    }
    let look = |pid: u32| {
        let (door, identity) = deleted_file(pid, name, directory)?;
        let entry = on_device.iter().find(|entry| entry.is_on(identity))?;
        Some(Orphan {
            holder: Process::look_up(pid, entry.mode)?,
            identity,
            door,
        })
    };
    let mut named = on_device.iter().filter_map(|entry| entry.pid);
    named.find_map(look).or_else(|| {
        // The taker is not told, or gone and survived by a child: look at everybody.
        let all_alive = on_device.iter().all(|entry| {
            entry
                .pid
                .is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists())
        });
        if all_alive {
            return None;
        }
        inspect::pids().find_map(look)
    })
}

/// A descriptor of `pid` that is open on a deleted file which had this name in
/// this directory.
fn deleted_file(pid: u32, name: &OsStr, directory: Identity) -> Option<(PathBuf, Identity)> {
    const DELETED: &[u8] = b" (deleted)";
    for entry in fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        let door = entry.path();
        let Ok(link) = fs::read_link(&door) else {
            continue;
        };
        let Some(was) = link.as_os_str().as_bytes().strip_suffix(DELETED) else {
            continue;
        };
        let was = Path::new(OsStr::from_bytes(was));
        if was.file_name() != Some(name) {
            continue;
        }
        // Seen with the eyes of that process, which may have other mounts and another root.
        let there = was.parent().and_then(|parent| {
            let below_its_root = parent.strip_prefix("/").unwrap_or(parent);
            identity(&PathBuf::from(format!("/proc/{pid}/root")).join(below_its_root))
        });
        if there == Some(directory)
            && let Some(file) = identity(&door)
        {
            return Some((door, file));
        }
    }
    None
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = fs::metadata(path).ok()?;
    Some(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}
