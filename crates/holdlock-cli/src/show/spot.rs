//! Which locked files a path of the command line stands for.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use holdlock::inspect::{LockedFile, Place};

use crate::exit::Failure;

/// A file, or a directory and all below it.
#[derive(Debug)]
pub(crate) struct Spot {
    path: PathBuf,
    place: Option<Place>,
}

impl Spot {
    /// Looks once at what is there. A path at which nothing is may yet be that of a removed file.
    pub(crate) fn of(path: &Path) -> Result<Spot, Failure> {
        let whole = path.canonicalize().or_else(|_| absolute(path));
        let whole = whole
            .map_err(|error| Failure::usage(format!("{}: {error}", super::text::path(path))))?;
        Ok(Spot {
            place: Place::of(path).ok(),
            path: whole,
        })
    }

    /// Whether the file is this one, was at this path, or is below it.
    pub(crate) fn has(&self, file: &LockedFile) -> bool {
        let below = |path: &PathBuf| !file.elsewhere && path.starts_with(&self.path);
        self.place == Some(file.place) || file.path.as_ref().is_some_and(below)
    }
}

/// Gives a path to files of whose holders we may not see the descriptors: where such a file is
/// one of these spots, or lies in a directory that is.
pub(crate) fn name(files: &mut [LockedFile], spots: &[Spot]) {
    let mut nameless: HashMap<Place, &mut LockedFile> = files
        .iter_mut()
        .filter(|file| file.path.is_none())
        .map(|file| (file.place, file))
        .collect();
    for spot in spots {
        if let Some(file) = spot.place.and_then(|place| nameless.remove(&place)) {
            file.path = Some(spot.path.clone());
        }
        if nameless.is_empty() {
            return;
        }
        let inodes: HashSet<u64> = nameless.keys().map(|place| place.inode).collect();
        // Where it is no directory there is nothing in it.
        let entries = fs::read_dir(&spot.path).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| inodes.contains(&entry.ino())) {
            let place = Place::of(entry.path()).ok();
            if let Some(file) = place.and_then(|place| nameless.remove(&place)) {
                file.path = Some(entry.path());
            }
        }
    }
}

/// With a directory as the kernel names it, where there is one.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    let parent = whole.parent().and_then(|parent| parent.canonicalize().ok());
    Ok(match (parent, whole.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => whole,
    })
}
