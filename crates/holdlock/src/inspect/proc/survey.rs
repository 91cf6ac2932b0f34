//! Makes files with holders and waiters out of entries of the kernel's lock table.

mod waiters;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;

use super::blocked::Blocked;
use super::descriptors::{self, DescriptorLock, Descriptors, Location, ScanResult, is_denied};
use super::file_id::FileId;
use super::mounts::Mounts;
use super::process::ProcessCache;
use super::slot_users::SlotUsers;
use super::table::{Kind, TableEntry};
use super::whole_table;
use crate::Mode;
use crate::inspect::snapshot::{Holder, Lock, LockedFile, Snapshot, Unseen};
use crate::sys::process::exists;

/// The locks of the whole host.
pub(crate) fn host() -> io::Result<Snapshot> {
    let mut survey = Survey::default();
    survey.add(whole_table::read(|_| true)?);
    if in_other_namespace() {
        survey.add_unlisted(|_| true);
    }
    Ok(survey.finish())
}

/// Adds to a snapshot the processes that have inherited a lock on one of these files from a taker
/// that still has it. The snapshot lacks them, because a survey does not search for them. Also
/// returns the processes that the caller may not look at.
pub(crate) fn with_all_holders(
    snapshot: &Snapshot,
    wanted: impl Fn(&LockedFile) -> bool,
) -> (Snapshot, Vec<u32>) {
    let mut whole = snapshot.clone();
    let mut survey = Survey::default();
    let files = snapshot.files.iter().filter(|file| wanted(file));
    let holders = files
        .flat_map(|file| &file.locks)
        .flat_map(|lock| &lock.holders);
    let link = |holder: &Holder| descriptors::link(holder.process.pid, holder.descriptor?);
    survey
        .descriptors
        .look_for_copies(&holders.filter_map(link).collect());
    for file in whole.files.iter_mut().filter(|file| wanted(file)) {
        for lock in &mut file.locks {
            let entry = TableEntry {
                kind: lock.kind,
                mode: lock.mode,
                turn: 0,
                pid: lock.taker,
                file_id: file.file_id,
                range: lock.range,
            };
            // The survey has found all holders of an OFD lock among all processes.
            if lock.taker.is_some() {
                survey.add_holders(lock, &entry);
            }
        }
    }
    let hidden = survey.descriptors.denied();
    (whole, hidden)
}

/// Collects entries, and finds their holders and waiters.
#[derive(Default)]
pub(crate) struct Survey {
    entries: Vec<TableEntry>,
    pub(crate) descriptors: Descriptors,
    processes: ProcessCache,
    mounts: Option<Mounts>,
    blocked: Option<Vec<Blocked>>,
    untraceable: usize,
    /// Whether the survey has looked at all processes.
    searched: bool,
}

impl Survey {
    pub(crate) fn add(&mut self, entries: Vec<TableEntry>) {
        self.entries.extend(entries);
    }

    /// Whether another process may hold a flock(2) lock on the file too: there is no exclusive one
    /// among these entries, which are all of one file.
    pub(crate) fn may_be_shared(&self) -> bool {
        let excludes = |entry: &TableEntry| {
            entry.is_held() && entry.kind == Kind::Flock && entry.mode == Mode::Exclusive
        };
        !self.entries.iter().any(excludes)
    }

    /// Adds the locks that are visible in the descriptors of processes, but not listed in
    /// /proc/locks. The kernel does not list a lock for which it has no pid here: the taker is in
    /// another PID namespace, or has ended. (It lists OFD locks, although they have no pid
    /// anywhere.)
    pub(crate) fn add_unlisted(&mut self, wanted: impl Fn(&TableEntry) -> bool) {
        self.descriptors.scan_all_processes();
        self.searched = true;
        let listed: HashSet<(FileId, Kind, Mode)> = {
            // A taker that was listed and has ended since has no pid in fdinfo. Its locks are
            // listed already.
            let ended = |entry: &&TableEntry| entry.pid.is_some_and(|pid| !exists(pid));
            let ended = self.entries.iter().filter(ended);
            ended
                .map(|entry| (entry.file_id, entry.kind, entry.mode))
                .collect()
        };
        let mut known: HashSet<TableEntry> = HashSet::new();
        let mut found: Vec<TableEntry> = Vec::new();
        for (_, open) in self.descriptors.all_locks() {
            let entry = &open.entry;
            let is_unlisted = entry.pid.is_none() && entry.kind != Kind::Ofd;
            let is_new = is_unlisted
                && wanted(entry)
                && !listed.contains(&(entry.file_id, entry.kind, entry.mode));
            if is_new && known.insert(entry.clone()) {
                found.push(entry.clone());
            }
        }
        self.entries.extend(found);
    }

    pub(crate) fn finish(mut self) -> Snapshot {
        let mut files = whole_table::by_file(std::mem::take(&mut self.entries));
        self.scan_takers(&mut files);
        let all = files.iter().flat_map(|(_, entries)| entries);
        let pids: HashSet<u32> = all.filter_map(|entry| entry.pid).collect();
        self.processes.prepare(pids.into_iter().collect());
        let mut open: HashMap<FileId, Vec<(u32, DescriptorLock)>> = HashMap::new();
        for (pid, lock) in self.descriptors.all_locks() {
            let here = open.entry(lock.entry.file_id).or_default();
            here.push((pid, lock.clone()));
        }
        let files: Vec<LockedFile> = files
            .into_iter()
            .map(|(file_id, entries)| {
                let open = open.remove(&file_id).unwrap_or_default();
                self.file(file_id, entries, open)
            })
            .filter(|file| !(file.locks.is_empty() && file.waiters.is_empty()))
            .collect();
        let unseen = self.unseen(&files);
        Snapshot { files, unseen }
    }

    /// Looks at the takers of the locks. If a taker does not have its lock, looks at all processes.
    fn scan_takers(&mut self, files: &mut Vec<(FileId, Vec<TableEntry>)>) {
        if self.searched {
            return;
        }
        let mut takers: HashMap<u32, Vec<&TableEntry>> = HashMap::new();
        for entry in files.iter().flat_map(|(_, entries)| entries) {
            if let Some(pid) = entry.pid.filter(|_| entry.is_held()) {
                takers.entry(pid).or_default().push(entry);
            }
        }
        self.descriptors.look_for(takers.into_iter().collect());
        let all = files.iter().flat_map(|(_, entries)| entries);
        let unclear: HashSet<TableEntry> = all
            .filter(|entry| self.is_unclear(entry))
            .cloned()
            .collect();
        if unclear.is_empty() {
            return;
        }
        // Most of these locks were released meanwhile. A second read costs less than a search.
        let there = whole_table::read(|entry| unclear.contains(entry));
        let there: HashSet<TableEntry> =
            there.map_or_else(|_| unclear.clone(), |entries| entries.into_iter().collect());
        for (_, entries) in &mut *files {
            entries.retain(|entry| there.contains(entry) || !unclear.contains(entry));
        }
        files.retain(|(_, entries)| entries.iter().any(TableEntry::is_held));
        if !there.is_empty() {
            self.descriptors.scan_all_processes();
            self.searched = true;
        }
    }

    /// Whether the holder of a lock is unknown: the taker does not have the lock open.
    fn is_unclear(&mut self, entry: &TableEntry) -> bool {
        let has_it = match entry.pid.map(|pid| self.descriptors.of(pid)) {
            Some(ScanResult::Seen(open)) => open.iter().any(|open| open.entry.is_same_lock(entry)),
            // The caller may not look at this process, so the kernel's entry is the only evidence.
            Some(ScanResult::Denied) => true,
            Some(ScanResult::Gone) | None => false,
        };
        // The kernel does not name the holder of a slot, but names it as a taker of the flock(2)
        // lock that it shares.
        let is_known =
            || entry.slot_count().is_some() || entry.is_slot() && self.descriptors.have(entry);
        // A lease ends with its process.
        entry.is_held() && !has_it && entry.kind != Kind::Lease && !is_known()
    }

    fn file(
        &mut self,
        file_id: FileId,
        mut entries: Vec<TableEntry>,
        open: Vec<(u32, DescriptorLock)>,
    ) -> LockedFile {
        let location = self.location(&open);
        let slots = entries.iter().find_map(TableEntry::slot_count);
        entries.retain(|entry| entry.slot_count().is_none());
        let users = SlotUsers::among(&open);
        let mut locks = self.locks(&entries, open, &users);
        users.name_slots(&mut locks);
        let (path, removed, elsewhere) = match location {
            Some(Location {
                path,
                removed,
                elsewhere,
            }) => (Some(path), removed, elsewhere),
            None => (None, false, false),
        };
        let mount_point = match path {
            Some(_) => None,
            None => {
                let mounts = self.mounts.get_or_insert_with(Mounts::ours);
                mounts.point_of(file_id.device())
            }
        };
        LockedFile {
            file_id,
            path,
            removed,
            elsewhere,
            mount_point,
            slots,
            locks,
            waiters: self.waiters(file_id, &entries),
        }
    }

    /// The path of the file. Prefers a path in our own mount namespace.
    fn location(&mut self, open: &[(u32, DescriptorLock)]) -> Option<Location> {
        let mut first = None;
        for (pid, open) in open {
            let found = self.descriptors.location(*pid, open);
            if !found.elsewhere {
                return Some(found);
            }
            first = first.or(Some(found));
        }
        first
    }

    fn locks(
        &mut self,
        entries: &[TableEntry],
        open: Vec<(u32, DescriptorLock)>,
        users: &SlotUsers,
    ) -> Vec<Lock> {
        let held: Vec<&TableEntry> = entries.iter().filter(|entry| entry.is_held()).collect();
        let mut identical: HashMap<&TableEntry, IdenticalLocks> = HashMap::new();
        for entry in &held {
            identical.entry(*entry).or_default().unassigned += 1;
        }
        for (pid, lock) in open {
            if let Some(identical) = identical.get_mut(&lock.entry) {
                identical.open.push_back((pid, lock));
            }
        }
        for (entry, identical) in &mut identical {
            // Stable: the processes stay in the order of their numbers.
            let open = identical.open.make_contiguous();
            open.sort_by_key(|(pid, _)| Some(*pid) != entry.pid);
        }
        let any_denied = held.iter().any(|entry| entry.pid.is_none())
            && self.descriptors.denied().into_iter().any(is_denied);
        let mut locks = Vec::with_capacity(held.len());
        for entry in held {
            let Some(identical) = identical.get_mut(entry) else {
                continue;
            };
            let first = !std::mem::replace(&mut identical.is_first_shown, true);
            let mut mine = identical.take(users);
            // Whether a search has found the heirs of this lock depends on the other locks. They
            // are left out while the taker has it.
            if mine.iter().any(|(pid, _)| Some(*pid) == entry.pid) {
                mine.retain(|(pid, _)| Some(*pid) == entry.pid);
            }
            let denied = match entry.pid {
                Some(pid) => matches!(self.descriptors.of(pid), ScanResult::Denied),
                // Any process may have it.
                None => any_denied,
            };
            // One process may have two identical shared locks by two descriptors. Exclusive locks
            // exclude each other, so there is only one.
            let may_be_two = denied && entry.mode == Mode::Shared;
            if mine.is_empty() && !first && !may_be_two {
                // The table moved between two reads, which therefore list this lock twice.
                continue;
            }
            locks.push(self.lock(entry, mine));
        }
        locks
    }

    fn lock(&mut self, entry: &TableEntry, open: Vec<(u32, DescriptorLock)>) -> Lock {
        let mut holders: Vec<Holder> = Vec::new();
        for (pid, open) in open {
            // A process with several copies of the descriptor is one holder.
            if holders.iter().any(|holder| holder.process.pid == pid) {
                continue;
            }
            if let Some(process) = self.processes.look_up(pid) {
                holders.push(Holder {
                    process,
                    descriptor: Some(open.descriptor),
                });
            }
        }
        if holders.is_empty()
            && let Some(pid) = entry.pid
            && let Some(process) = self.processes.look_up(pid)
            // Kernel threads hold locks for the clients of an NFS server, without a descriptor.
            && (matches!(self.descriptors.of(pid), ScanResult::Denied)
                || entry.kind == Kind::Lease
                || process.is_of_the_kernel())
        {
            holders.push(Holder {
                process,
                descriptor: None,
            });
        }
        holders.sort_by_key(|holder| Some(holder.process.pid) != entry.pid);
        Lock {
            kind: entry.kind,
            mode: entry.mode,
            range: entry.range,
            slot: entry.range.as_slot().filter(|_| entry.is_slot()),
            taker: entry.pid,
            holders,
        }
    }

    fn add_holders(&mut self, lock: &mut Lock, entry: &TableEntry) {
        let all = self.descriptors.all_locks().into_iter();
        let have_it: Vec<(u32, u32)> = all
            .filter(|(_, open)| open.entry.is_same_lock(entry))
            .map(|(pid, open)| (pid, open.descriptor))
            .collect();
        for (pid, descriptor) in have_it {
            let mut holders = lock.holders.iter();
            if holders.all(|holder| holder.process.pid != pid)
                && let Some(process) = self.processes.look_up(pid)
            {
                lock.holders.push(Holder {
                    process,
                    descriptor: Some(descriptor),
                });
            }
        }
    }

    fn unseen(&self, files: &[LockedFile]) -> Vec<Unseen> {
        let mut unseen = Vec::new();
        // Where every process is shown, nothing is missing because of those.
        let is_missing = files.iter().any(|file| {
            file.locks.iter().any(|lock| lock.holders.is_empty())
                || file.waiters.iter().any(|waiter| waiter.process.is_none())
        });
        let denied = if self.searched && is_missing {
            let denied = self.descriptors.denied().into_iter();
            denied.filter(|pid| is_denied(*pid)).count()
        } else {
            0
        };
        let untraced = if is_missing { self.untraceable } else { 0 };
        match denied.max(untraced) {
            0 => {}
            number => unseen.push(Unseen::Processes(number)),
        }
        if in_other_namespace() {
            unseen.push(Unseen::OtherNamespaces);
        }
        unseen
    }
}

/// Identical locks of a file, and the descriptors that may have them, those of the taker first. The
/// kernel does not say which descriptor has which of these locks.
#[derive(Default)]
struct IdenticalLocks {
    /// How many of these locks have no descriptors yet.
    unassigned: usize,
    open: VecDeque<(u32, DescriptorLock)>,
    is_first_shown: bool,
}

impl IdenticalLocks {
    /// The descriptors of the next lock: those of one slot, or else one descriptor, and for the
    /// last lock all that remain.
    fn take(&mut self, users: &SlotUsers) -> Vec<(u32, DescriptorLock)> {
        self.unassigned -= 1;
        if self.unassigned == 0 {
            return self.open.drain(..).collect();
        }
        let slot = |(pid, open): &(u32, DescriptorLock)| users.slot(*pid, open.descriptor);
        let Some(its) = self.open.front().and_then(slot) else {
            return self.open.pop_front().into_iter().collect();
        };
        let open = self.open.drain(..);
        let (mine, others) = open.partition::<Vec<_>, _>(|open| slot(open) == Some(its));
        self.open = others.into();
        mine
    }
}

/// Whether there may be processes outside of our PID namespace.
pub(crate) fn in_other_namespace() -> bool {
    // The inode of the first PID namespace is part of the kernel's interface (PROC_PID_INIT_INO).
    const FIRST: &str = "pid:[4026531836]";
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() != FIRST)
}
