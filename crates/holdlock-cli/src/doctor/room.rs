//! Is there room for a lock file?

use rustix::fs::statvfs;

use super::finding::Finding;
use super::place::Place;

/// An empty file needs an inode, and a directory perhaps a block for its name. Whether
/// it really fails is tried afterwards: so this is a warning.
pub(super) fn look(place: &Place) -> Option<Finding> {
    let found = statvfs(&place.directory).ok()?;
    // Some file systems count neither, and say so by 0.
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
    let remedy = "make room, or create the lock file while there is room; a lock itself needs none";
    Some(Finding::warning("room", found).remedy(remedy))
}
