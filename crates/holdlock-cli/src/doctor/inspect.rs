//! HOOK: what the library's `inspect` knows of the lock at this moment.
//!
//! Two findings belong here as soon as the library tells:
//!
//! - `removed-holder`, unsafe: a living process holds the lock on a removed file of
//!   this name, so that whoever comes now locks another file. Remedy: end it, or wait.
//! - `other-family`, warning: the lock file is locked at this moment through the other
//!   family (OFD or POSIX locks instead of flock), whose holders we do not exclude.

use super::finding::Finding;
use super::place::Place;

/// Nothing yet.
pub(super) fn look(_place: &Place) -> Vec<Finding> {
    Vec::new()
}
