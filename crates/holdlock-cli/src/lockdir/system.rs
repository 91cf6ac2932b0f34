//! Names for all users (`--system`): files in a directory of root, in which only root can create or
//! remove files. Therefore no other user can remove a name that root has used once.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::exit::{CANNOT_CREATE, Failure, reason};
use crate::show::text;

/// The directory of the names for all users.
pub(super) const DIRECTORY: &str = "/run/holdlock-system";

/// The mode of files in it: every user can open them, which is enough for flock(2).
pub(crate) const MODE: u32 = 0o644;

/// Creates the directory of the names for all users if we are root; otherwise the error says what
/// root has to do.
pub(super) fn prepare(directory: &Path, file: &Path) -> Result<(), Failure> {
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        match DirBuilder::new().mode(0o755).create(directory) {
            // The mode was subject to the umask.
            Ok(()) => fs::set_permissions(directory, fs::Permissions::from_mode(0o755)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|error| {
            let (directory, why) = (text::path(directory), reason(&error));
            let message = format!("cannot create the lock directory {directory}: {why}");
            Failure::new(CANNOT_CREATE, message)
        })?;
    }
    let found = fs::symlink_metadata(directory);
    if let Ok(found) = &found {
        accept(directory, found)?;
    }
    if !is_root && (found.is_err() || fs::symlink_metadata(file).is_err()) {
        let name = file.file_stem().unwrap_or_default();
        return Err(Failure::new(
            CANNOT_CREATE,
            format!(
                "no lock named {} is shared by all users: {} is missing; only root can create it, \
                 with: holdlock run --system {} true",
                text::path(name),
                text::path(file),
                text::shell_word(name),
            ),
        ));
    }
    Ok(())
}

/// Refuses a directory of names for all users in which a user other than root could change
/// something.
pub(super) fn accept(directory: &Path, found: &Metadata) -> Result<(), Failure> {
    let why = if !found.is_dir() {
        "it is not a directory".to_owned()
    } else if found.uid() != 0 {
        format!("it belongs to user {}, not to root", found.uid())
    } else if found.mode() & 0o022 != 0 {
        "users other than root can write to it".to_owned()
    } else {
        return Ok(());
    };
    Err(Failure::new(
        CANNOT_CREATE,
        format!(
            "refusing the lock directory {}: {why}; have root remove it",
            text::path(directory)
        ),
    ))
}
