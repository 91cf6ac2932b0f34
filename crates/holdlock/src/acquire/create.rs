//! Creating lock files.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lock_name::LockName;
use super::open::LockFile;
use crate::LockOptions;
use crate::sys::Refusal;
use crate::sys::file::{self, Access};
use crate::sys::file_system;
use crate::sys::identity;

/// Creates the lock file. After `AlreadyExists` the caller opens the file that another process has
/// created.
pub(crate) fn create(
    name: &Arc<LockName>,
    options: &LockOptions,
    writable: bool,
) -> io::Result<LockFile> {
    let path = final_path(name)?;
    let create = || create_at(name, &path, options, writable);
    let error = match create() {
        Ok(file) => return Ok(file),
        Err(error) => error,
    };
    let Some(parent) = path.parent() else {
        return Err(error);
    };
    match error.kind() {
        io::ErrorKind::NotFound => {
            if options.create_parents {
                std::fs::create_dir_all(parent).map_err(|error| no_parents(parent, error))?;
            }
            let directory = file::pin(parent, true)?;
            create().map_err(|error| {
                let is_missing = error.kind() == io::ErrorKind::NotFound;
                if is_missing && is_at(parent, &directory) {
                    makes_no_files(&directory)
                } else {
                    error
                }
            })
        }
        io::ErrorKind::PermissionDenied => Err(if_the_kernels(parent).unwrap_or(error)),
        _ => Err(error),
    }
}

/// Whether the path still leads to this directory, which is open.
fn is_at(path: &Path, directory: &File) -> bool {
    let now = file::pin(path, true).and_then(|now| identity::of(now.as_fd()));
    let pinned = identity::of(directory.as_fd());
    now.is_ok_and(|now| pinned.is_ok_and(|pinned| pinned == now))
}

/// The error if this directory, or the nearest one above it that exists, is in /proc or a similar
/// file system.
fn if_the_kernels(path: &Path) -> Option<io::Error> {
    let nearest = path
        .ancestors()
        .find_map(|path| file::pin(path, true).ok())?;
    file_system::is_the_kernels(nearest.as_fd()).then(|| makes_no_files(&nearest))
}

/// The error for a directory in which programs cannot create files, as in /proc. The system's own
/// error only says that something is missing, or denied.
fn makes_no_files(directory: &File) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!(
            "no file can be created there (file system: {}); use another directory",
            file_system::name_of(directory.as_fd())
        ),
    )
}

/// Why the directories of a lock file cannot be created. Replaces `AlreadyExists` by its cause: a
/// part of the path is not a directory, or another process has removed a directory just now
/// (`NotFound`).
fn no_parents(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::AlreadyExists {
        return if_the_kernels(path).unwrap_or(error);
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
