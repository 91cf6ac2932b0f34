//! The lock directory of a user.
//!
//! It must be the same for a login shell, a cron job and a service of one user, now and later:
//! otherwise two jobs of one name run at once. Therefore the directory depends on the user's number
//! and on the host, and on nothing else. `$XDG_RUNTIME_DIR` and /run/user/UID do not work: they
//! exist only during login sessions, and a cron job has no session. The home directory is missing
//! for services; it may be on a server, encrypted until the user logs in, or another directory
//! after `sudo`.
//!
//! Root's directory is in /run, where only root can create files. Other users have only directories
//! in which every user can create files: another user may create the directory first. Using another
//! directory in that case does not help: jobs that start meanwhile would not exclude earlier and
//! later jobs. Therefore holdlock refuses a directory that another user made, and the message has
//! the remedy. The user then has no locks by name, but two jobs never run at once.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

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

/// The directory that the environment names.
pub(crate) fn chosen() -> Option<OsString> {
    std::env::var_os(VARIABLE).filter(|value| !value.is_empty())
}

/// The lock directory of this user, whether or not it exists.
pub(crate) fn directory() -> Result<PathBuf, Failure> {
    if let Some(chosen) = chosen() {
        let chosen = PathBuf::from(chosen);
        if chosen.is_absolute() {
            // Without a slash or a dot at its end, which would follow a symbolic link.
            return Ok(chosen.components().collect());
        }
        return Err(Failure::usage(format!(
            "{VARIABLE} is {}, which is not an absolute path: the same name would be another lock \
             in another working directory; set an absolute path",
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
    // The directory may exist although the user cannot create it now: root creates it at each boot,
    // or it is older than an upgrade that has closed /run/lock, and its locks are still held.
    let is_users = |found: Metadata| found.is_dir() && found.uid() == uid;
    if look(&users).is_some_and(is_users)
        || look(Path::new("/run/lock")).is_some_and(is_for_everybody)
    {
        users
    } else {
        format!("/tmp/holdlock-{uid}").into()
    }
}

/// Whether it is a directory in which every user can create files, and can remove only their own.
pub(crate) fn is_for_everybody(found: Metadata) -> bool {
    found.is_dir() && found.mode() & 0o1002 == 0o1002
}

/// Creates the lock directory, or checks that the existing one belongs to this user: another user
/// may have created a directory of that name first, and could then remove our lock files.
pub(crate) fn prepare(directory: &Path) -> Result<(), Failure> {
    let create = |directory| DirBuilder::new().mode(0o700).create(directory);
    let created = match create(directory) {
        // The image of a container may not have /run.
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

/// Refuses a directory in which other users could remove our lock files.
pub(super) fn accept(directory: &Path, found: &Metadata) -> Result<(), Failure> {
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

/// Warns of a lock directory of an older version: root's locks were once in a directory that every
/// user could create first. A holdlock of that version and this one do not exclude each other.
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

/// The reason to refuse an existing file as the lock directory, if there is one.
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
            "remove that permission (chmod go-w)",
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
    fn the_directory_depends_on_user_and_host_only() {
        // The lock directory, if /run/lock is like `run_lock` and the user's directory like
        // `users`.
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
