//! Keeps the candidates of a search for a removed file, and the budget of the search.

use std::collections::{HashMap, HashSet};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::file_id::FileId;
use crate::sys::directory::Directory;
use crate::sys::{file, file_system};

/// With this many candidates or fewer, listing a directory takes longer than looking at each of
/// them.
const MANY: usize = 8;
/// Stop listing a directory after this many names for each candidate.
const NAMES_EACH: usize = 16;
/// The cost of opening a directory, and how many of its names cost as much as one descriptor.
const COST_OF_LISTING: usize = 4;
const NAMES_PER_UNIT: usize = 16;

/// The locked files on one device that may be the removed file.
pub(crate) struct Candidates {
    device: (u32, u32),
    file_ids: HashSet<FileId>,
    /// The directories in which a locked file was seen, each with the number of such files.
    directories: HashMap<PathBuf, u32>,
    budget: usize,
}

impl Candidates {
    pub(crate) fn new(
        first: FileId,
        file_ids: impl Iterator<Item = FileId>,
        budget: usize,
    ) -> Candidates {
        Candidates {
            device: first.device(),
            file_ids: file_ids.collect(),
            directories: HashMap::new(),
            budget,
        }
    }

    pub(crate) fn contain(&self, file_id: FileId) -> bool {
        self.file_ids.contains(&file_id)
    }

    pub(crate) fn are_many(&self) -> bool {
        self.file_ids.len() > MANY
    }

    /// Whether the search is over: no candidate is left, or the budget is spent.
    pub(crate) fn is_over(&self) -> bool {
        self.file_ids.is_empty() || self.budget == 0
    }

    pub(crate) fn set_budget(&mut self, budget: usize) {
        self.budget = budget;
    }

    pub(crate) fn spend(&mut self, budget: usize) {
        self.budget = self.budget.saturating_sub(budget);
    }

    /// Removes a candidate. Returns whether it was one.
    pub(crate) fn rule_out(&mut self, file_id: FileId) -> bool {
        self.file_ids.remove(&file_id)
    }

    /// Whether none of `places` is a candidate any longer. Removes from the end of `places` what is
    /// not.
    pub(crate) fn are_ruled_out(&self, file_ids: &mut Vec<FileId>) -> bool {
        while file_ids.pop_if(|last| !self.contain(*last)).is_some() {}
        file_ids.is_empty()
    }

    /// Notes the path of a locked file that was not removed, as the process sees it. When a
    /// directory has a second such file, lists it: it may contain many more of the candidates.
    pub(crate) fn note_name(&mut self, file_id: FileId, pid: u32, name: &Path) {
        let Some(directory) = name.parent().filter(|_| file_id.device() == self.device) else {
            return;
        };
        let seen = self.directories.entry(directory.to_owned()).or_default();
        *seen += 1;
        if *seen == 2 && self.are_many() {
            let below_its_root = directory.strip_prefix("/").unwrap_or(directory);
            self.rule_out_named(&Path::new(&format!("/proc/{pid}/root")).join(below_its_root));
        }
    }

    /// Rules out the candidates that have a name in this directory: they are not removed. (The file
    /// system gives the inode number of an open file to no other file.)
    pub(crate) fn rule_out_named(&mut self, directory: &Path) {
        self.spend(COST_OF_LISTING);
        let Ok(opened) = file::pin(directory, true) else {
            return;
        };
        // The inode numbers of the listing must be those of the kernel's lock table.
        let is_fit = !file_system::hides_its_device(opened.as_fd())
            && FileId::of_open(opened.as_fd()).is_ok_and(|file_id| file_id.device() == self.device);
        if !is_fit {
            return;
        }
        let most = NAMES_EACH * self.file_ids.len().max(MANY);
        let names = Directory::open_pinned(opened.as_fd());
        let names = names.into_iter().flatten().flatten();
        let (major, minor) = self.device;
        let mut listed = 0;
        for name in names.take(most.min(NAMES_PER_UNIT * self.budget)) {
            listed += 1;
            self.file_ids.remove(&FileId {
                major,
                minor,
                inode: name.inode,
            });
            if self.file_ids.is_empty() {
                break;
            }
        }
        self.spend(listed / NAMES_PER_UNIT);
    }
}
