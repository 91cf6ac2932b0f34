//! Creating lock files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock_name::LockName;
use super::open::LockFile;
use crate::LockOptions;
use crate::sys::Refusal;
use crate::sys::file::{self, Access};

/// Creates the lock file. After `AlreadyExists` the caller opens the file that another process has
/// created.
pub(crate) fn create(
    name: &Arc<LockName>,
    options: &LockOptions,
    writable: bool,
) -> io::Result<LockFile> {
    let path = final_path(name)?;
    let result = create_at(name, &path, options, writable);
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound && options.create_parents => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(|error| not_a_directory(parent, error))?;
            }
            create_at(name, &path, options, writable)
        }
        other => other,
    }
}

/// Replaces the `AlreadyExists` of a directory by its cause: a part of the path is not a directory,
/// or another process has removed a directory just now (`NotFound`).
fn not_a_directory(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::AlreadyExists {
        return error;
    }
    let in_the_way = |path: &Path| std::fs::symlink_metadata(path).is_ok() && !path.is_dir();
    if path.ancestors().any(in_the_way) {
        Refusal::NotADirectory.into()
    } else {
        Refusal::Missing.into()
    }
}

fn create_at(
    name: &Arc<LockName>,
    path: &Path,
    options: &LockOptions,
    writable: bool,
) -> io::Result<LockFile> {
    match options.permissions {
        None => {
            let access = if writable {
                Access::ReadWrite
            } else {
                Access::Read
            };
            LockFile::open(name, writable, || file::create_new(path, access, 0o666))
        }
        Some(mode) => LockFile::open(name, true, || file::create_with_mode(path, mode)),
    }
}

/// The path after all symbolic links at its end, if the name follows links. A missing file is
/// created there, and a file is removed there.
pub(crate) fn final_path(name: &LockName) -> io::Result<PathBuf> {
    let mut path = name.path.clone();
    if !name.follow {
        return Ok(path);
    }
    for _ in 0..40 {
        match std::fs::read_link(&path) {
            Ok(target) => {
                let parent = path.parent().unwrap_or(Path::new("/"));
                path = parent.join(target);
            }
            Err(_) => return Ok(path),
        }
    }
    Err(Refusal::SymbolicLink.into())
}
