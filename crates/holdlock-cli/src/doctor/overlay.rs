//! Overlay file systems: one file can be opened in several ways, each with locks of its own.

use super::finding::Finding;
use super::mounts::Mount;

/// Locks belong to the overlay's own inodes. A process that opens the same file through a layer or
/// through another overlay gets another inode.
pub(super) fn layers(mount: &Mount) -> Finding {
    let (lower, upper) = (mount.value("lowerdir"), mount.value("upperdir"));
    let found = match (lower, upper) {
        (_, Some(upper)) => format!(
            "processes that open the files through a layer ({upper} and others below) or through \
             another overlay are not excluded"
        ),
        _ => "an overlay without an upper layer: nothing can be created, and processes that open \
              the files through a layer or another overlay are not excluded"
            .to_owned(),
    };
    Finding::note("overlay", found).remedy(
        "if such processes (other containers) need the lock, lock a file in a volume that all of \
         them mount",
    )
}
