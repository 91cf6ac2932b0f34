//! The directory that is examined, and what is at the lock's path.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::exit::reason;
use crate::lockdir;

/// A directory that exists, and the lock file if it exists.
pub(super) struct Place {
    /// The directory of the lock file, in which locks are tried.
    pub(super) directory: PathBuf,
    pub(super) directory_is: Metadata,
    /// The lock's own path, unless only a directory was named.
    pub(super) path: Option<PathBuf>,
    /// What is at that path. A symbolic link is not followed.
    pub(super) file: Option<Metadata>,
    /// The lock directory, if `holdlock run` would create it first.
    pub(super) to_be_made: Option<PathBuf>,
}

/// Finds the place, or says what prevents that.
pub(super) fn find(path: &Path, is_name: bool) -> Result<Place, Finding> {
    let wants_directory = path.as_os_str().as_bytes().ends_with(b"/");
    let there = if wants_directory {
        fs::metadata(path)
    } else {
        fs::symlink_metadata(path)
    };
    match there {
        Ok(found) if found.is_dir() => Ok(Place {
            directory: path.to_owned(),
            directory_is: found,
            path: None,
            file: None,
            to_be_made: None,
        }),
        Ok(found) => {
            let mut place = parent(path, is_name)?;
            place.file = Some(found);
            Ok(place)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !wants_directory => {
            parent(path, is_name)
        }
        Err(error) => Err(unreachable_finding(path, &error)),
    }
}

/// The place of a file that may be missing.
fn parent(path: &Path, is_name: bool) -> Result<Place, Finding> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let (directory, to_be_made) = match fs::metadata(directory) {
        Err(error) if is_name && error.kind() == io::ErrorKind::NotFound => {
            let above = directory.parent().unwrap_or(Path::new("/"));
            (above, Some(directory.to_owned()))
        }
        _ => (directory, None),
    };
    let found = fs::metadata(directory).map_err(|error| unreachable_finding(directory, &error))?;
    if !found.is_dir() {
        let found = format!("{} is not a directory", directory.display());
        return Err(Finding::not_safe("directory", found).remedy("choose another directory"));
    }
    if is_name && to_be_made.is_none() {
        refused(directory)?;
    }
    Ok(Place {
        directory: directory.to_owned(),
        directory_is: found,
        path: Some(path.to_owned()),
        file: None,
        to_be_made,
    })
}

/// The other subcommands refuse a lock directory that is not this user's alone.
fn refused(directory: &Path) -> Result<(), Finding> {
    let found = fs::symlink_metadata(directory);
    match found.ok().as_ref().and_then(lockdir::objection) {
        None => Ok(()),
        Some(lockdir::Objection { why, remedy }) => {
            let found = format!(
                "the lock directory {} is refused: {why}",
                directory.display()
            );
            let remedy = format!("{remedy}, or {}", lockdir::CHOOSE);
            Err(Finding::not_safe("directory", found).remedy(remedy))
        }
    }
}

fn unreachable_finding(path: &Path, error: &io::Error) -> Finding {
    let shown = path.display();
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            let found = format!("the directory {shown} does not exist");
            return Finding::not_safe("directory", found)
                .remedy(format!("create it: mkdir -p {shown}"));
        }
        io::ErrorKind::PermissionDenied => {
            "give this user search permission (x) on every directory above"
        }
        io::ErrorKind::NotConnected | io::ErrorKind::StaleNetworkFileHandle => {
            "its server or FUSE process is gone: unmount it and mount it again"
        }
        _ => "choose another directory",
    };
    let found = format!("{shown} cannot be reached: {}", reason(error));
    Finding::not_safe("directory", found).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_means_a_lock_file_in_it() {
        let place = find(Path::new("/proc/self/"), false).unwrap();
        assert_eq!((place.path, place.file.is_none()), (None, true));
        let place = find(Path::new("/tmp/no-such-file-of-holdlock"), false).unwrap();
        assert_eq!(place.directory, Path::new("/tmp"));
        assert!(place.path.is_some() && place.file.is_none());
    }

    #[test]
    fn what_stands_in_the_way_has_a_remedy() {
        let remedy = |path| find(Path::new(path), false).err().unwrap().remedy.unwrap();
        assert_eq!(remedy("/no-such-a/b"), "create it: mkdir -p /no-such-a");
        assert_eq!(remedy("/no-such-a/"), "create it: mkdir -p /no-such-a/");
        assert_eq!(remedy("/proc/version/x"), "choose another directory");
    }

    #[test]
    fn a_lock_directory_that_is_missing_is_looked_at_from_above() {
        let place = find(Path::new("/tmp/no-such-a/b.lock"), true).unwrap();
        assert_eq!(place.directory, Path::new("/tmp"));
        assert_eq!(place.to_be_made.unwrap(), Path::new("/tmp/no-such-a"));
    }
}
