//! Which locked files a path of the command line stands for.

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

/// With a directory as the kernel names it, where there is one.
fn absolute(path: &Path) -> std::io::Result<PathBuf> {
    let whole = std::path::absolute(path)?;
    let parent = whole.parent().and_then(|parent| parent.canonicalize().ok());
    Ok(match (parent, whole.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => whole,
    })
}
