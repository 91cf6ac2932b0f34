//! From the LOCK of the command line to a path.
//!
//! A LOCK with a slash is a path. A bare name stands for a file in a lock directory: the user's own
//! (`own`), or with `--system` that of all users (`system`).

mod own;
mod system;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

pub(crate) use own::{CHOOSE, Objection, chosen, directory, is_for_everybody, objection, prepare};
pub(crate) use system::MODE as MODE_FOR_ALL;

use crate::engines;
use crate::exit::Failure;
use crate::show::text;

/// No Linux file system has longer file names.
const LONGEST_NAME: usize = 255;

/// The set of names to which a name belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// The names of the user that runs the command.
    Own,
    /// The names that all users share: `--system`.
    System,
}

/// The path of a LOCK.
#[derive(Debug, PartialEq)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    /// The lock directory, if the LOCK is a name.
    directory: Option<PathBuf>,
    names: Names,
}

impl Location {
    /// Whether the LOCK is a name in the lock directory.
    pub(crate) fn is_name(&self) -> bool {
        self.directory.is_some()
    }

    /// Whether the LOCK is one of the names for all users.
    pub(crate) fn is_for_all(&self) -> bool {
        self.names == Names::System
    }

    /// Whether no other user can open the lock file.
    pub(crate) fn is_private(&self) -> bool {
        let found = self.directory.as_ref().map(fs::symlink_metadata);
        found.is_some_and(|found| found.is_ok_and(|found| found.mode() & 0o077 == 0))
    }

    /// Creates the lock directory if the LOCK is a name. The directory of a path is left to the
    /// user.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        match (&self.directory, self.names) {
            (None, _) => Ok(()),
            (Some(directory), Names::Own) => prepare(directory),
            (Some(directory), Names::System) => system::prepare(directory, &self.path),
        }
    }

    /// The path, for callers that create nothing. Refuses a lock directory that another user has
    /// made: its files do not say whether this user's lock is held, and must not be opened.
    pub(crate) fn trusted(self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.directory
            && let Ok(found) = fs::symlink_metadata(directory)
        {
            match self.names {
                Names::Own => own::accept(directory, &found)?,
                Names::System => system::accept(directory, &found)?,
            }
        }
        Ok(self.path)
    }
}

/// Finds the path of a LOCK, without creating it.
pub(crate) fn locate(lock: &OsStr) -> Result<Location, Failure> {
    locate_among(lock, Names::Own)
}

/// The same for a LOCK that may be one of the names for all users.
pub(crate) fn locate_among(lock: &OsStr, names: Names) -> Result<Location, Failure> {
    if engines::is_meant(lock) {
        return Err(engines::refused(lock));
    }
    if lock.as_bytes().contains(&b'/') {
        return match names {
            Names::Own => Ok(Location {
                path: lock.into(),
                directory: None,
                names,
            }),
            Names::System => Err(Failure::usage(format!(
                "{} is a path, and --system is for names; leave out --system: a path is the same \
                 for all users",
                text::path(lock)
            ))),
        };
    }
    let name = file_name(lock)?;
    let directory = match names {
        Names::Own => directory()?,
        Names::System => system::DIRECTORY.into(),
    };
    Ok(Location {
        path: directory.join(name),
        directory: Some(directory),
        names,
    })
}

fn file_name(lock: &OsStr) -> Result<OsString, Failure> {
    if lock.is_empty() {
        return Err(Failure::usage("the name of a lock cannot be empty"));
    }
    if lock == "." || lock == ".." {
        return Err(Failure::usage(format!(
            "{} cannot be the name of a lock",
            text::path(lock)
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
            "the name of the lock is too long: it has {} bytes; use at most {}",
            lock.len(),
            LONGEST_NAME - ".lock".len(),
        )));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn a_slash_makes_a_path() {
        let location = locate(OsStr::new("./x")).unwrap();
        assert_eq!(
            location,
            Location {
                path: "./x".into(),
                directory: None,
                names: Names::Own,
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
            assert_eq!(file_name(OsStr::new(name)).unwrap_err().code, exit::USAGE);
        }
        assert!(file_name(OsStr::new(&"n".repeat(250))).is_ok());
    }
}
