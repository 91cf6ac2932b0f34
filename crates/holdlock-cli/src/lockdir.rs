//! From the LOCK of the command line to a path.
//!
//! A LOCK with a slash is a path. A bare name stands for a file in the lock
//! directory, which must be the same for a login shell, a cron job and a
//! service of one user: it therefore depends on the user id and on what the
//! host has, not on a login session's variables.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::exit::{CANNOT_CREATE, Failure};

/// The variable that names another lock directory.
pub(crate) const VARIABLE: &str = "HOLDLOCK_DIR";

/// No Linux file system has longer file names.
const LONGEST_NAME: usize = 255;

/// Where a LOCK is.
#[derive(Debug, PartialEq)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    /// The lock directory, where the LOCK is a name in it.
    directory: Option<PathBuf>,
}

impl Location {
    /// Whether the LOCK is a name in the lock directory.
    pub(crate) fn is_name(&self) -> bool {
        self.directory.is_some()
    }

    /// Makes the lock directory where the LOCK is a name in it. A path's
    /// directory is the caller's own business.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        self.directory.as_deref().map_or(Ok(()), prepare)
    }
}

/// Finds the place of a LOCK, creating nothing.
pub(crate) fn locate(lock: &OsStr) -> Result<Location, Failure> {
    if lock.as_bytes().contains(&b'/') {
        return Ok(Location {
            path: lock.into(),
            directory: None,
        });
    }
    let name = file_name(lock)?;
    let directory = directory()?;
    Ok(Location {
        path: directory.join(name),
        directory: Some(directory),
    })
}

fn file_name(lock: &OsStr) -> Result<OsString, Failure> {
    if lock.is_empty() {
        return Err(Failure::usage("the name of a lock cannot be empty"));
    }
    if lock == "." || lock == ".." {
        return Err(Failure::usage(format!(
            "{} is no name for a lock",
            lock.display()
        )));
    }
    if lock.as_bytes().contains(&0) {
        return Err(Failure::usage(
            "the name of a lock cannot contain a NUL byte",
        ));
    }
    let mut name = lock.to_owned();
    name.push(".lock");
    if name.len() > LONGEST_NAME {
        return Err(Failure::usage(format!(
            "the name of the lock has {} bytes; {} is the most a file name can carry",
            lock.len(),
            LONGEST_NAME - ".lock".len(),
        )));
    }
    Ok(name)
}

/// The lock directory of this user, whether or not it exists.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    if let Some(chosen) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) {
        let chosen = PathBuf::from(chosen);
        if chosen.is_absolute() {
            return Ok(chosen);
        }
        return Err(Failure::usage(format!(
            "{VARIABLE} is {}, which is not an absolute path: \
             the same name would be another lock in another directory",
            chosen.display()
        )));
    }
    let run_lock = fs::metadata("/run/lock").ok();
    Ok(default_directory(
        rustix::process::geteuid().as_raw(),
        run_lock.as_ref(),
    ))
}

fn default_directory(uid: u32, run_lock: Option<&Metadata>) -> PathBuf {
    let shared = |found: &&Metadata| found.is_dir() && found.mode() & 0o1002 == 0o1002;
    match run_lock {
        Some(found) if uid == 0 && found.is_dir() => "/run/lock/holdlock".into(),
        found if uid != 0 && found.as_ref().is_some_and(shared) => {
            format!("/run/lock/holdlock-{uid}").into()
        }
        _ => format!("/tmp/holdlock-{uid}").into(),
    }
}

/// Creates the lock directory, or makes sure that the one which exists is ours:
/// its place may be one where everybody can create a directory of that name
/// first, and whoever owns it could take our lock files away.
pub(crate) fn prepare(directory: &Path) -> Result<(), Failure> {
    let refuse = |why: &str| {
        Failure::new(
            CANNOT_CREATE,
            format!(
                "refusing the lock directory {}: {why}; choose another one with {VARIABLE}",
                directory.display()
            ),
        )
    };
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            let message = format!(
                "cannot create the lock directory {}: {error}",
                directory.display()
            );
            return Err(Failure::new(CANNOT_CREATE, message));
        }
    }
    let found = fs::symlink_metadata(directory).map_err(|error| refuse(&error.to_string()))?;
    objection(&found).map_or(Ok(()), |why| Err(refuse(&why)))
}

/// Why a file that is there is refused as the lock directory, if it is.
pub(crate) fn objection(found: &Metadata) -> Option<String> {
    let uid = rustix::process::geteuid().as_raw();
    if found.is_symlink() {
        Some("it is a symbolic link".into())
    } else if !found.is_dir() {
        Some("it is not a directory".into())
    } else if found.uid() != uid {
        let owner = found.uid();
        Some(format!("it belongs to user {owner}, not to user {uid}"))
    } else if found.mode() & 0o022 != 0 {
        Some("other users can write to it".into())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_makes_a_path() {
        let location = locate(OsStr::new("./x")).unwrap();
        assert_eq!(
            location,
            Location {
                path: "./x".into(),
                directory: None
            }
        );
    }

    #[test]
    fn names_become_files_of_the_directory() {
        assert_eq!(file_name(OsStr::new("backup")).unwrap(), "backup.lock");
        assert_eq!(file_name(OsStr::new("-n")).unwrap(), "-n.lock");
        let raw = OsStr::from_bytes(b"b\xffk");
        assert_eq!(file_name(raw).unwrap().as_bytes(), b"b\xffk.lock");
    }

    #[test]
    fn names_that_cannot_be_files_are_refused() {
        for name in ["", ".", "..", "a\0b", &"n".repeat(251)] {
            assert_eq!(
                file_name(OsStr::new(name)).unwrap_err().code,
                crate::exit::USAGE
            );
        }
        assert!(file_name(OsStr::new(&"n".repeat(250))).is_ok());
    }

    #[test]
    fn the_directory_depends_on_user_and_host_only() {
        let sticky = fs::metadata("/tmp").unwrap();
        let plain = fs::metadata("/").unwrap();
        assert_eq!(
            default_directory(0, Some(&plain)),
            Path::new("/run/lock/holdlock")
        );
        assert_eq!(default_directory(0, None), Path::new("/tmp/holdlock-0"));
        assert_eq!(
            default_directory(7, Some(&sticky)),
            Path::new("/run/lock/holdlock-7")
        );
        assert_eq!(
            default_directory(7, Some(&plain)),
            Path::new("/tmp/holdlock-7")
        );
        assert_eq!(default_directory(7, None), Path::new("/tmp/holdlock-7"));
    }
}
