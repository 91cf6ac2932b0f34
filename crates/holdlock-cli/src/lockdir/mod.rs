//! From the LOCK of the command line to a path.
//!
//! A LOCK with a slash is a path. A bare name stands for a file in the lock directory, which
//! must be the same for a login shell, a cron job and a service of one user, now and later:
//! otherwise two jobs of one name run at once. So the directory depends on the user's number and on
//! the host, and on nothing else. Neither `$XDG_RUNTIME_DIR` nor /run/user/UID will do: they come
//! and go with login sessions, and a cron job has no session. The home is missing for services, and
//! may be on a server, encrypted until the user logs in, or another one after `sudo`.
//!
//! Root's directory is in /run, where only root can make anything. Other users have only
//! directories in which every user can: another user may take the name first. To move to another
//! place then is no way out: jobs that start while the name is taken would not exclude the jobs
//! from before and after. So the directory of another user is refused, with the remedy. That costs
//! the user the locks by name, never their exclusion.

mod system;

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

pub(crate) use system::MODE as MODE_FOR_ALL;

use crate::exit::{self, CANNOT_CREATE, Failure, reason};
use crate::show::text;

/// The variable that names another lock directory.
const VARIABLE: &str = "HOLDLOCK_DIR";

/// Root's lock directory.
const ROOTS: &str = "/run/holdlock";

const REMOVE: &str = "have its owner or root remove it";

/// The remedy that always helps.
pub(crate) const CHOOSE: &str = "set HOLDLOCK_DIR to a local directory of your own, the same in \
    every session, service and cron job";

/// No Linux file system has longer file names.
const LONGEST_NAME: usize = 255;

/// Whose a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Those of the user that runs the command.
    Own,
    /// Those of all users: `--system`.
    System,
}

/// Where a LOCK is.
#[derive(Debug, PartialEq)]
pub(crate) struct Location {
    pub(crate) path: PathBuf,
    /// The lock directory, where the LOCK is a name in it.
    directory: Option<PathBuf>,
    names: Names,
}

impl Location {
    /// Whether the LOCK is a name in the lock directory.
    pub(crate) fn is_name(&self) -> bool {
        self.directory.is_some()
    }

    /// Whether it is one of the names for all users.
    pub(crate) fn is_for_all(&self) -> bool {
        self.names == Names::System
    }

    /// Whether no other user can open the lock file.
    pub(crate) fn is_private(&self) -> bool {
        let found = self.directory.as_ref().map(fs::symlink_metadata);
        found.is_some_and(|found| found.is_ok_and(|found| found.mode() & 0o077 == 0))
    }

    /// Makes the lock directory where the LOCK is a name in it. A path's
    /// directory is the caller's own business.
    pub(crate) fn prepare(&self) -> Result<(), Failure> {
        match (&self.directory, self.names) {
            (None, _) => Ok(()),
            (Some(directory), Names::Own) => prepare(directory),
            (Some(directory), Names::System) => system::prepare(directory, &self.path),
        }
    }

    /// The path, for callers that create nothing. A lock directory that another user has made is
    /// refused: its files are no answer, and not to be opened.
    pub(crate) fn trusted(self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.directory
            && let Ok(found) = fs::symlink_metadata(directory)
        {
            match self.names {
                Names::Own => accept(directory, &found)?,
                Names::System => system::accept(directory, &found)?,
            }
        }
        Ok(self.path)
    }
}

/// Finds the place of a LOCK, creating nothing.
pub(crate) fn locate(lock: &OsStr) -> Result<Location, Failure> {
    locate_among(lock, Names::Own)
}

/// The same for a LOCK that may be one of the names for all users.
pub(crate) fn locate_among(lock: &OsStr, names: Names) -> Result<Location, Failure> {
    if lock.as_bytes().contains(&b'/') {
        return match names {
            Names::Own => Ok(Location {
                path: lock.into(),
                directory: None,
                names,
            }),
            Names::System => Err(Failure::usage(format!(
                "{} is a path, and --system is for names; a path is the same for all users anyway",
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
            "the name of the lock has {} bytes; {} is the most a file name can carry",
            lock.len(),
            LONGEST_NAME - ".lock".len(),
        )));
    }
    Ok(name)
}

/// The directory that the environment names.
pub(crate) fn chosen() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty())
}

/// The lock directory of this user, whether or not it exists.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    if let Some(chosen) = chosen() {
        let chosen = PathBuf::from(chosen);
        if chosen.is_absolute() {
            return Ok(chosen);
        }
        return Err(Failure::usage(format!(
            "{VARIABLE} is {}, which is not an absolute path: \
             the same name would be another lock in another directory",
            text::path(&chosen)
        )));
    }
    let uid = rustix::process::geteuid().as_raw();
    Ok(default_directory(uid, |path| {
        fs::symlink_metadata(path).ok()
    }))
}

fn default_directory(uid: u32, look: impl Fn(&Path) -> Option<Metadata>) -> PathBuf {
    if uid == 0 {
        return ROOTS.into();
    }
    let users = PathBuf::from(format!("/run/lock/holdlock-{uid}"));
    // It may be there although the user could not make it now: root makes it at each boot; or it is
    // from before an upgrade that has closed /run/lock, while its locks are held.
    let is_users = |found: Metadata| found.is_dir() && found.uid() == uid;
    if look(&users).is_some_and(is_users)
        || look(Path::new("/run/lock")).is_some_and(is_for_everybody)
    {
        users
    } else {
        format!("/tmp/holdlock-{uid}").into()
    }
}

/// Whether it is a directory in which every user can make files, and remove only their own.
pub(crate) fn is_for_everybody(found: Metadata) -> bool {
    found.is_dir() && found.mode() & 0o1002 == 0o1002
}

/// Creates the lock directory, or makes sure that the one which exists is ours:
/// another user may have created a directory of that name first, and its owner
/// could take our lock files away.
pub(crate) fn prepare(directory: &Path) -> Result<(), Failure> {
    let create = |directory| DirBuilder::new().mode(0o700).create(directory);
    let created = match create(directory) {
        // An image of a container may be without /run.
        Err(error) if error.kind() == io::ErrorKind::NotFound && directory == Path::new(ROOTS) => {
            let _ = DirBuilder::new().mode(0o755).create("/run");
            create(directory)
        }
        created => created,
    };
    match created {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure::new(
                CANNOT_CREATE,
                format!(
                    "cannot create the lock directory {}: {}; {CHOOSE}",
                    text::path(directory),
                    reason(&error)
                ),
            ));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(directory).map_err(|error| {
        let message = format!(
            "cannot look at the lock directory {}",
            text::path(directory)
        );
        Failure::new(
            CANNOT_CREATE,
            format!("{message}: {}; {CHOOSE}", reason(&error)),
        )
    })?;
    accept(directory, &found)?;
    if directory == Path::new(ROOTS) {
        warn_of_older_version();
    }
    Ok(())
}

/// Refuses a directory in which others could take our lock files away.
fn accept(directory: &Path, found: &Metadata) -> Result<(), Failure> {
    let Some(Objection { why, remedy }) = objection(found) else {
        return Ok(());
    };
    Err(Failure::new(
        CANNOT_CREATE,
        format!(
            "refusing the lock directory {}: {why}; {remedy}, or {CHOOSE}",
            text::path(directory)
        ),
    ))
}

/// Root's locks once were in a directory that every user could make first. A holdlock that has them
/// there and this one do not exclude each other.
fn warn_of_older_version() {
    const OLD: &str = "/run/lock/holdlock";
    let is_roots = |found: &Metadata| found.is_dir() && found.uid() == 0;
    if fs::symlink_metadata(OLD)
        .ok()
        .as_ref()
        .is_some_and(is_roots)
    {
        exit::warn(&format!(
            "warning: {OLD} is the lock directory of an older holdlock, whose jobs and this \
             one do not exclude each other; remove it once they have ended"
        ));
    }
}

/// What is wrong with a lock directory, and what can be done.
pub(crate) struct Objection {
    pub(crate) why: String,
    pub(crate) remedy: &'static str,
}

/// Why a file that is there is refused as the lock directory, if it is.
pub(crate) fn objection(found: &Metadata) -> Option<Objection> {
    let uid = rustix::process::geteuid().as_raw();
    let (why, remedy) = if found.is_symlink() {
        ("it is a symbolic link".to_owned(), REMOVE)
    } else if !found.is_dir() {
        ("it is not a directory".to_owned(), REMOVE)
    } else if found.uid() != uid {
        let owner = found.uid();
        (
            format!("it belongs to user {owner}, not to user {uid}"),
            REMOVE,
        )
    } else if found.mode() & 0o022 != 0 {
        (
            "other users can write to it".to_owned(),
            "take that permission away (chmod go-w)",
        )
    } else {
        return None;
    };
    Some(Objection { why, remedy })
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

    #[test]
    fn the_directory_depends_on_user_and_host_only() {
        // Where /run/lock is this, and the user's directory in it that.
        let directory = |uid, run_lock: &str, users: &str| {
            let (run_lock, users) = (fs::metadata(run_lock).ok(), fs::metadata(users).ok());
            default_directory(uid, |path| {
                let found = match path == Path::new("/run/lock") {
                    true => &run_lock,
                    false => &users,
                };
                found.clone()
            })
        };
        let (sticky, plain, none) = ("/tmp", "/", "/no-such");
        for run_lock in [sticky, plain, none] {
            let roots = directory(0, run_lock, none);
            assert_eq!(roots, Path::new("/run/holdlock"));
        }
        let (there, other) = ("/run/lock/holdlock-7", "/tmp/holdlock-7");
        assert_eq!(directory(7, sticky, none), Path::new(there));
        assert_eq!(directory(7, plain, none), Path::new(other));
        assert_eq!(directory(7, none, none), Path::new(other));
        // A directory of another user does not count, and does not change the place.
        assert_eq!(directory(7, plain, "/proc"), Path::new(other));
        assert_eq!(directory(7, sticky, "/proc"), Path::new(there));
    }
}
