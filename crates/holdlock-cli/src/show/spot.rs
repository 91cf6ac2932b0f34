//! The locked files to which a path of the command line refers.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use holdlock::inspect::{FileId, LockedFile};

use super::text;
use crate::exit::{Failure, reason};

/// A file, or a directory and all below it.
#[derive(Debug)]
pub(crate) struct Spot {
    path: PathBuf,
    file_id: Option<FileId>,
    /// Why the place is unknown.
    trouble: Option<io::Error>,
}

impl Spot {
    /// Looks at the path. If there is no file, it may still be the path of a removed file.
    pub(crate) fn of(path: &Path) -> Result<Spot, Failure> {
        let whole = path.canonicalize().or_else(|_| absolute(path));
        let whole = whole.map_err(|error| {
            let (path, error) = (text::path(path), reason(&error));
            Failure::usage(format!("{path}: {error}"))
        })?;
        let (file_id, trouble) = match FileId::of(path) {
            Ok(file_id) => (Some(file_id), None),
            Err(error) => (None, Some(error)),
        };
        Ok(Spot {
            path: whole,
            file_id,
            trouble,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The error, if the file at the path could not be examined.
    pub(crate) fn trouble(&self) -> Option<&io::Error> {
        self.trouble.as_ref()
    }

    /// Whether the file is this one, was at this path, or is below it.
    pub(crate) fn has(&self, file: &LockedFile) -> bool {
        let below = |path: &PathBuf| !file.elsewhere && path.starts_with(&self.path);
        self.file_id == Some(file.file_id) || file.path.as_ref().is_some_and(below)
    }
}

/// Gives a path to files whose holders' descriptors we may not see: to each file that is one of
/// these spots, or that is in a directory among them.
pub(crate) fn name(files: &mut [LockedFile], spots: &[Spot]) {
    let mut nameless: HashMap<FileId, &mut LockedFile> = files
        .iter_mut()
        .filter(|file| file.path.is_none())
        .map(|file| (file.file_id, file))
        .collect();
    for spot in spots {
        if let Some(file) = spot.file_id.and_then(|file_id| nameless.remove(&file_id)) {
            file.path = Some(spot.path.clone());
        }
        if nameless.is_empty() {
            return;
        }
        let inodes: HashSet<u64> = nameless.keys().map(|file_id| file_id.inode).collect();
        // Only a directory has entries.
        let entries = fs::read_dir(&spot.path).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| inodes.contains(&entry.ino())) {
            let file_id = FileId::of(entry.path()).ok();
            if let Some(file) = file_id.and_then(|file_id| nameless.remove(&file_id)) {
                file.path = Some(entry.path());
            }
        }
    }
}

/// The absolute path; its directory is named as the kernel names it, if it exists.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    let parent = whole.parent().and_then(|parent| parent.canonicalize().ok());
    Ok(match (parent, whole.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => whole,
    })
}
