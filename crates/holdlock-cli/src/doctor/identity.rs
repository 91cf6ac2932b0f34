//! Whether holders and waiters can see that the lock file was removed, replaced or renamed. For
//! that, the inode number of a file must not change, and two files must not have the same number.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use rustix::fs::{FlockOperation, OFlags, flock};

use super::finding::Finding;
use super::temporary::{self, Temporary};
use crate::exit::reason;

/// The last trial: afterwards the file is gone or another one.
pub(super) fn try_out(temporary: &Temporary, file: &File) -> Vec<Finding> {
    match seen(temporary, file) {
        Ok(None) => {
            let found = "the removal, replacement and renaming of a held lock file are noticed";
            vec![Finding::ok("identity", found)]
        }
        Ok(Some(broken)) => vec![
            Finding::not_safe("identity", broken)
                .remedy("keep the lock file on another file system, such as that of /run/lock"),
        ],
        Err(error) => {
            let error = reason(&error);
            let found = format!("the removal of a lock file could not be tried: {error}");
            vec![Finding::warning("identity", found).remedy("try again")]
        }
    }
}

/// The first fault, if there is one.
fn seen(temporary: &Temporary, file: &File) -> io::Result<Option<String>> {
    let held = temporary::open_again(file)?;
    // By name, because a server may have another number for it. It is compared and not locked.
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let again = File::options()
        .read(true)
        .custom_flags(careful.bits() as i32)
        .open(&temporary.path)?;
    flock(held.as_fd(), FlockOperation::NonBlockingLockExclusive)?;
    let first = identity(&held.metadata()?);
    let by_path = || fs::symlink_metadata(&temporary.path).map(|found| identity(&found));
    if first != identity(&again.metadata()?) || first != by_path()? {
        return Ok(Some(
            "inode numbers are not stable: one file has several, so every lock file looks as if it \
             had been replaced (or another program replaces files here)"
                .into(),
        ));
    }
    fs::rename(&temporary.path, &temporary.renamed)?;
    if by_path().is_ok() {
        return Ok(Some(
            "a renamed file can still be found under its old name".into(),
        ));
    }
    if identity(&fs::symlink_metadata(&temporary.renamed)?) != first {
        return Ok(Some(
            "a file gets another inode number when it is renamed".into(),
        ));
    }
    fs::remove_file(&temporary.renamed)?;
    // While `held` is open, its number must not be given to another file.
    let newcomer = temporary.create()?;
    if identity(&newcomer.metadata()?) == first || by_path()? == first {
        return Ok(Some(
            "a new file gets the inode number of a held file that was removed: the two cannot be \
             told apart"
                .into(),
        ));
    }
    Ok(None)
}

fn identity(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}
