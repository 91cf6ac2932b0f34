//! Is there room for a lock file?

use rustix::fs::statvfs;

use super::finding::Finding;
use super::place::Place;

/// An empty file needs an inode, and its directory may need a block for the name. A later step
/// tries to create a file, so this is only a warning.
pub(super) fn look(place: &Place) -> Option<Finding> {
    let found = statvfs(&place.directory).ok()?;
    // Some file systems do not count them, and report 0.
    let lacking = if found.f_files > 0 && found.f_favail == 0 {
        "inodes"
    } else if found.f_blocks > 0 && found.f_bavail == 0 {
        "blocks"
    } else {
        return None;
    };
    if place.file.is_some() {
        let found = format!(
            "the file system has no free {lacking}; the lock file exists, and a \
                             lock needs none"
        );
        return Some(Finding::note("room", found));
    }
    let found = format!("the file system has no free {lacking} for this user");
    let remedy =
        "free some space, or create the lock file while there is space; a lock itself needs none";
    Some(Finding::warning("room", found).remedy(remedy))
}
