//! From lines of /proc/locks to files with holders and waiters.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs;
use std::io;

use super::blocked::{self, Blocked};
use super::descriptors::{self, Descriptors, Look, Open, Whereabouts, is_denied};
use super::mounts::Mounts;
use super::place::Place;
use super::process::Directory;
use super::table::{Entry, Kind, Range};
use super::whole_table;
use crate::inspect::{Holder, Lock, LockedFile, Mode, Snapshot, Unseen, Waiter};
use crate::sys::process::exists;

/// All locks.
pub(crate) fn host() -> io::Result<Snapshot> {
    let mut survey = Survey::default();
    survey.take(whole_table::read(|_| true)?);
    if in_other_namespace() {
        survey.take_unlisted(|_| true);
    }
    Ok(survey.finish())
}

/// The same, with those who have inherited a lock on one of these files although its taker
/// still has it: nobody has looked for them before. And the processes that may not be looked at.
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
            let entry = Entry {
                kind: lock.kind,
                mode: lock.mode,
                turn: 0,
                pid: lock.taker,
                place: file.place,
                range: lock.range,
            };
            // The owners of OFD locks were found among all processes.
            if lock.taker.is_some() {
                survey.add_holders(lock, &entry);
            }
        }
    }
    let hidden = survey.descriptors.denied();
    (whole, hidden)
}

/// What is being put together.
#[derive(Default)]
pub(crate) struct Survey {
    entries: Vec<Entry>,
    pub(crate) descriptors: Descriptors,
    directory: Directory,
    mounts: Option<Mounts>,
    blocked: Option<Vec<Blocked>>,
    untraced: usize,
    /// Something was looked for among all processes.
    searched: bool,
}

impl Survey {
    pub(crate) fn take(&mut self, entries: Vec<Entry>) {
        self.entries.extend(entries);
    }

    /// Whether none of these locks excludes another flock(2), on their one file.
    pub(crate) fn may_be_shared(&self) -> bool {
        let excludes = |entry: &Entry| {
            entry.is_held() && entry.kind == Kind::Flock && entry.mode == Mode::Exclusive
        };
        !self.entries.iter().any(excludes)
    }

    /// Adds the locks of processes we see which /proc/locks does not list, because
    /// they were taken in another PID namespace, or by a process that has ended: for both the kernel
    /// has no number here. (OFD locks have none anywhere, and are listed.)
    pub(crate) fn take_unlisted(&mut self, wanted: impl Fn(&Entry) -> bool) {
        self.descriptors.look_at_everybody();
        self.searched = true;
        let listed: HashSet<(Place, Kind, Mode)> = {
            // A taker that has ended since was listed with its locks, and is named no more.
            let ended = |entry: &&Entry| entry.pid.is_some_and(|pid| !exists(pid));
            let ended = self.entries.iter().filter(ended);
            ended
                .map(|entry| (entry.place, entry.kind, entry.mode))
                .collect()
        };
        let mut known: HashSet<Entry> = HashSet::new();
        let mut found: Vec<Entry> = Vec::new();
        for (_, open) in self.descriptors.seen() {
            let entry = &open.entry;
            let is_unlisted = entry.pid.is_none() && entry.kind != Kind::Ofd;
            let is_new = is_unlisted
                && wanted(entry)
                && !listed.contains(&(entry.place, entry.kind, entry.mode));
            if is_new && known.insert(entry.clone()) {
                found.push(entry.clone());
            }
        }
        self.entries.extend(found);
    }

    pub(crate) fn finish(mut self) -> Snapshot {
        let mut files = whole_table::by_file(std::mem::take(&mut self.entries));
        self.look_at_holders(&mut files);
        let all = files.iter().flat_map(|(_, entries)| entries);
        let pids: HashSet<u32> = all.filter_map(|entry| entry.pid).collect();
        self.directory.prepare(pids.into_iter().collect());
        let mut open: HashMap<Place, Vec<(u32, Open)>> = HashMap::new();
        for (pid, lock) in self.descriptors.seen() {
            let here = open.entry(lock.entry.place).or_default();
            here.push((pid, lock.clone()));
        }
        let files: Vec<LockedFile> = files
            .into_iter()
            .map(|(place, entries)| {
                let open = open.remove(&place).unwrap_or_default();
                self.file(place, &entries, open)
            })
            .collect();
        let unseen = self.unseen(&files);
        Snapshot { files, unseen }
    }

    /// Looks at the takers of locks, and where one is not its holder, at everybody.
    fn look_at_holders(&mut self, files: &mut Vec<(Place, Vec<Entry>)>) {
        if self.searched {
            return;
        }
        let mut takers: HashMap<u32, Vec<&Entry>> = HashMap::new();
        for entry in files.iter().flat_map(|(_, entries)| entries) {
            if let Some(pid) = entry.pid.filter(|_| entry.is_held()) {
                takers.entry(pid).or_default().push(entry);
            }
        }
        self.descriptors.look_for(takers.into_iter().collect());
        let all = files.iter().flat_map(|(_, entries)| entries);
        let unclear: HashSet<Entry> = all
            .filter(|entry| self.is_unclear(entry))
            .cloned()
            .collect();
        if unclear.is_empty() {
            return;
        }
        // Most often they were released meanwhile: a second look costs less than a search.
        let there = whole_table::read(|entry| unclear.contains(entry));
        let there: HashSet<Entry> =
            there.map_or_else(|_| unclear.clone(), |entries| entries.into_iter().collect());
        for (_, entries) in &mut *files {
            entries.retain(|entry| there.contains(entry) || !unclear.contains(entry));
        }
        files.retain(|(_, entries)| entries.iter().any(Entry::is_held));
        if !there.is_empty() {
            self.descriptors.look_at_everybody();
            self.searched = true;
        }
    }

    /// Whether a lock is not seen to be held by who took it.
    fn is_unclear(&mut self, entry: &Entry) -> bool {
        let has_it = match entry.pid.map(|pid| self.descriptors.of(pid)) {
            Some(Look::Seen(open)) => open.iter().any(|open| open.entry.is_same_lock(entry)),
            // The kernel's word is all there is.
            Some(Look::Denied) => true,
            Some(Look::Gone) | None => false,
        };
        // A lease of a process that is gone cannot be.
        entry.is_held() && !has_it && entry.kind != Kind::Lease
    }

    fn file(&mut self, place: Place, entries: &[Entry], open: Vec<(u32, Open)>) -> LockedFile {
        let whereabouts = self.whereabouts(&open);
        let locks = self.locks(entries, open);
        let (path, removed, elsewhere) = match whereabouts {
            Some(Whereabouts {
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
                mounts.point_of(place.device())
            }
        };
        LockedFile {
            place,
            path,
            removed,
            elsewhere,
            mount_point,
            locks,
            waiters: self.waiters(place, entries),
        }
    }

    /// Where the file is: best as somebody in our own mount namespace sees it.
    fn whereabouts(&mut self, open: &[(u32, Open)]) -> Option<Whereabouts> {
        let mut first = None;
        for (pid, open) in open {
            let found = self.descriptors.whereabouts(*pid, open);
            if !found.elsewhere {
                return Some(found);
            }
            first = first.or(Some(found));
        }
        first
    }

    fn locks(&mut self, entries: &[Entry], open: Vec<(u32, Open)>) -> Vec<Lock> {
        let held: Vec<&Entry> = entries.iter().filter(|entry| entry.is_held()).collect();
        let mut alike: HashMap<&Entry, Alike> = HashMap::new();
        for entry in &held {
            alike.entry(*entry).or_default().lines += 1;
        }
        for (pid, lock) in open {
            if let Some(alike) = alike.get_mut(&lock.entry) {
                alike.open.push_back((pid, lock));
            }
        }
        let mut locks = Vec::with_capacity(held.len());
        for entry in held {
            let Some(alike) = alike.get_mut(entry) else {
                continue;
            };
            let first = !std::mem::replace(&mut alike.begun, true);
            let mine = alike.take();
            let denied = entry
                .pid
                .is_none_or(|pid| matches!(self.descriptors.of(pid), Look::Denied));
            // Two alike may be one process's by two descriptors, but not if they exclude each other.
            let may_be_two = denied && entry.mode == Mode::Shared;
            if mine.is_empty() && !first && !may_be_two {
                // The table moved between two reads, and told of one lock twice.
                continue;
            }
            locks.push(self.lock(entry, mine));
        }
        locks
    }

    fn lock(&mut self, entry: &Entry, open: Vec<(u32, Open)>) -> Lock {
        let mut holders: Vec<Holder> = Vec::new();
        for (pid, open) in open {
            // Copies of a descriptor are one holder's.
            if holders.iter().any(|holder| holder.process.pid == pid) {
                continue;
            }
            if let Some(process) = self.directory.look_up(pid) {
                holders.push(Holder {
                    process,
                    descriptor: Some(open.descriptor),
                });
            }
        }
        if holders.is_empty()
            && let Some(pid) = entry.pid
            && let Some(process) = self.directory.look_up(pid)
            // The kernel's own threads hold locks for the clients of an NFS server, without descriptors.
            && (matches!(self.descriptors.of(pid), Look::Denied)
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
            taker: entry.pid,
            holders,
        }
    }

    fn add_holders(&mut self, lock: &mut Lock, entry: &Entry) {
        let seen = self.descriptors.seen().into_iter();
        let have_it: Vec<(u32, u32)> = seen
            .filter(|(_, open)| open.entry.is_same_lock(entry))
            .map(|(pid, open)| (pid, open.descriptor))
            .collect();
        for (pid, descriptor) in have_it {
            let mut holders = lock.holders.iter();
            if holders.all(|holder| holder.process.pid != pid)
                && let Some(process) = self.directory.look_up(pid)
            {
                lock.holders.push(Holder {
                    process,
                    descriptor: Some(descriptor),
                });
            }
        }
    }

    fn waiters(&mut self, place: Place, entries: &[Entry]) -> Vec<Waiter> {
        let mut waiting: Vec<&Entry> = entries.iter().filter(|entry| !entry.is_held()).collect();
        // Those of one turn in the order in which the kernel wakes them; fair requests that have
        // not come to the head behind those for the lock itself.
        waiting.sort_by_key(|entry| (entry.is_for_a_turn(), entry.turn));
        let at_the_lock = waiting.iter().filter(|entry| !entry.is_for_a_turn());
        let turns = at_the_lock.map(|entry| entry.turn).max().unwrap_or(0);
        let unnamed = waiting.iter().any(|entry| entry.pid.is_none());
        let mut blocked = if unnamed {
            self.blocked_at(place)
        } else {
            Vec::new()
        };
        waiting
            .iter()
            .map(|entry| {
                let (pid, descriptor) = match entry.pid {
                    Some(pid) => (Some(pid), None),
                    None => match one_of(&mut blocked, entry) {
                        Some(blocked) => (Some(blocked.pid), Some(blocked.descriptor)),
                        None => (None, None),
                    },
                };
                let waiter = Waiter {
                    kind: entry.kind,
                    mode: entry.mode,
                    range: entry.range,
                    turn: entry.turn,
                    process: pid.and_then(|pid| self.directory.look_up(pid)),
                    descriptor,
                };
                if entry.is_for_a_turn() {
                    Waiter {
                        kind: Kind::Flock,
                        mode: entry.wanted_mode(),
                        range: Range::WHOLE,
                        turn: turns + entry.turn,
                        ..waiter
                    }
                } else {
                    waiter
                }
            })
            .collect()
    }

    fn blocked_at(&mut self, place: Place) -> Vec<Blocked> {
        let untraced = &mut self.untraced;
        let all = self.blocked.get_or_insert_with(|| {
            let (found, denied) = blocked::look();
            *untraced = denied;
            found
        });
        let here = all.iter().filter(|blocked| blocked.place == place);
        here.cloned().collect()
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
        let untraced = if is_missing { self.untraced } else { 0 };
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

/// Locks that are just like one another: the kernel does not say which descriptor has which.
#[derive(Default)]
struct Alike {
    /// How many there still are.
    lines: usize,
    open: VecDeque<(u32, Open)>,
    begun: bool,
}

impl Alike {
    /// The descriptors that have the next one. When more follow, only one; the last has the rest.
    fn take(&mut self) -> Vec<(u32, Open)> {
        self.lines -= 1;
        let count = if self.lines > 0 { 1 } else { self.open.len() };
        self.open.drain(..count.min(self.open.len())).collect()
    }
}

/// Somebody who asks for just this.
fn one_of(blocked: &mut Vec<Blocked>, entry: &Entry) -> Option<Blocked> {
    let at = blocked
        .iter()
        .position(|blocked| blocked.mode == entry.mode && blocked.range == entry.range)?;
    Some(blocked.remove(at))
}

/// Whether there are processes outside of our pid namespace.
pub(crate) fn in_other_namespace() -> bool {
    // The number of the first one is part of the kernel's interface (PROC_PID_INIT_INO).
    const FIRST: &str = "pid:[4026531836]";
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() != FIRST)
}
