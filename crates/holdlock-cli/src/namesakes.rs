//! Warns about a name that the user may have meant as a file of this directory, or as the lock of
//! another user.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use holdlock::inspect::{self, Kind, Process};

use crate::exit;
use crate::lockdir::{self, Location};
use crate::show::text;

/// Warns on standard error if the user may have meant something else.
pub(crate) fn warn(lock: &OsStr, location: &Location) {
    if !location.is_name() {
        return;
    }
    if looks_like_a_file(lock) {
        exit::warn(&format!(
            "warning: {lock} is the name of the lock {}, not the file in this directory; for the \
             file write ./{lock}",
            text::path(&location.path),
            lock = text::path(lock),
        ));
    }
    // Only root can look into the directories of other users.
    let looks = rustix::process::geteuid().is_root() && lockdir::chosen().is_none();
    if looks && !location.is_for_all() {
        for (path, holder) in held_by_users(location.path.file_name().unwrap_or_default()) {
            exit::warn(&format!(
                "note: another user's lock of the same name is held: {}, by {}; each user has names \
                 of their own; for one lock of all users, use --system",
                text::path(&path),
                text::process_cut(&holder, None),
            ));
        }
    }
}

/// Whether the user probably meant a file. Programs do not count, because they often run under a
/// lock of their own name; directories do not count either.
fn looks_like_a_file(lock: &OsStr) -> bool {
    let is_one = |found: fs::Metadata| found.is_file() && found.permissions().mode() & 0o111 == 0;
    lock.as_bytes().ends_with(b".lock") || fs::symlink_metadata(lock).is_ok_and(is_one)
}

/// The locks of this name that other users hold, and a holder of each.
fn held_by_users(name: &OsStr) -> Vec<(PathBuf, Process)> {
    let mut parents = vec![Path::new("/run/lock")];
    let found = fs::symlink_metadata("/run/lock");
    if !found.is_ok_and(lockdir::is_for_everybody) {
        parents.push(Path::new("/tmp"));
    }
    let entries = parents
        .into_iter()
        .filter_map(|parent| fs::read_dir(parent).ok());
    let entries = entries.flatten().flatten();
    let directories = entries.filter(|entry| is_users(&entry.file_name(), &entry.path()));
    let files = directories.map(|entry| entry.path().join(name));
    files
        .filter(|file| fs::symlink_metadata(file).is_ok_and(|found| found.is_file()))
        .filter_map(|file| {
            let holder = holder_of(&file)?;
            Some((file, holder))
        })
        .collect()
}

/// `holdlock-1000`, which belongs to user 1000.
fn is_users(name: &OsString, path: &Path) -> bool {
    let uid = name
        .to_str()
        .and_then(|name| name.strip_prefix("holdlock-"));
    let uid: Option<u32> = uid.and_then(|uid| uid.parse().ok());
    let found = fs::symlink_metadata(path);
    uid.is_some() && found.is_ok_and(|found| found.is_dir() && Some(found.uid()) == uid)
}

fn holder_of(file: &Path) -> Option<Process> {
    let files = inspect::file(file).ok()?.files;
    let locks = files
        .into_iter()
        .filter(|file| !file.removed)
        .flat_map(|file| file.locks);
    let locks = locks.filter(|lock| lock.kind != Kind::Lease);
    locks
        .flat_map(|lock| lock.holders)
        .next()
        .map(|holder| holder.process)
}
