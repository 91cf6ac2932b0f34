//! The locked files that may be the removed one a search is for, and how much it may yet look at.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::place::Place;
use crate::sys::{file, file_system};

/// For fewer candidates, listing a directory takes longer than looking at each of them.
const MANY: usize = 8;
/// A directory is listed no further where it has so many names for each candidate.
const NAMES_EACH: usize = 16;
/// What listing a directory takes, and how many names take as long as one descriptor.
const LISTING: usize = 4;
const NAMES: usize = 16;

/// Files of one device.
pub(crate) struct Candidates {
    device: (u32, u32),
    places: HashSet<Place>,
    /// Directories in which a locked file was seen, and how many.
    directories: HashMap<PathBuf, u32>,
    effort: usize,
}

impl Candidates {
    pub(crate) fn new(
        first: Place,
        places: impl Iterator<Item = Place>,
        effort: usize,
    ) -> Candidates {
        Candidates {
            device: first.device(),
            places: places.collect(),
            directories: HashMap::new(),
            effort,
        }
    }

    pub(crate) fn contain(&self, place: Place) -> bool {
        self.places.contains(&place)
    }

    pub(crate) fn are_many(&self) -> bool {
        self.places.len() > MANY
    }

    /// None is left, or nothing more may be looked at.
    pub(crate) fn is_over(&self) -> bool {
        self.places.is_empty() || self.effort == 0
    }

    pub(crate) fn allow(&mut self, effort: usize) {
        self.effort = effort;
    }

    pub(crate) fn spend(&mut self, effort: usize) {
        self.effort = self.effort.saturating_sub(effort);
    }

    /// It need not be looked for any more. Whether it was one of them.
    pub(crate) fn clear(&mut self, place: Place) -> bool {
        self.places.remove(&place)
    }

    /// Whether none of these is left. What is cleared, this forgets.
    pub(crate) fn are_cleared(&self, places: &mut Vec<Place>) -> bool {
        while places.pop_if(|last| !self.contain(*last)).is_some() {}
        places.is_empty()
    }

    /// A locked file has this name, as the process sees it. Where the second one is, there may be
    /// many more.
    pub(crate) fn seen(&mut self, place: Place, pid: u32, name: &Path) {
        let Some(directory) = name.parent().filter(|_| place.device() == self.device) else {
            return;
        };
        let seen = self.directories.entry(directory.to_owned()).or_default();
        *seen += 1;
        if *seen == 2 && self.are_many() {
            let below_its_root = directory.strip_prefix("/").unwrap_or(directory);
            self.clear_named(&Path::new(&format!("/proc/{pid}/root")).join(below_its_root));
        }
    }

    /// Clears those that have a name in this directory: they are not removed. (While a file is
    /// open its number is not given to another one.)
    pub(crate) fn clear_named(&mut self, directory: &Path) {
        self.spend(LISTING);
        let Ok(opened) = file::pin(directory, true) else {
            return;
        };
        // A listing must have the numbers that the kernel's lock table has.
        let is_fit = !file_system::hides_its_device(opened.as_fd())
            && Place::of_open(opened.as_fd()).is_ok_and(|place| place.device() == self.device);
        if !is_fit {
            return;
        }
        let most = NAMES_EACH * self.places.len().max(MANY);
        let names = fs::read_dir(format!("/proc/thread-self/fd/{}", opened.as_raw_fd()));
        let names = names.into_iter().flatten().flatten();
        let (major, minor) = self.device;
        let mut listed = 0;
        for name in names.take(most.min(NAMES * self.effort)) {
            listed += 1;
            self.places.remove(&Place {
                major,
                minor,
                inode: name.ino(),
            });
            if self.places.is_empty() {
                break;
            }
        }
        self.spend(listed / NAMES);
    }
}
