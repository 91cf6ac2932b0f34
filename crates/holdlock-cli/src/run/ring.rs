//! Who waits for whom, from /proc/locks: rings of waiting processes.
//!
//! A process that waits for a lock waits for each holder of it, and who holds a
//! lock while it runs a command waits for what that command waits for. A way
//! along these arrows that comes back to us, or to whom we are running for, can
//! never come to an end.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use holdlock::Mode;

/// A file, as /proc/locks names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    device: (u32, u32),
    inode: u64,
}

impl Place {
    pub(super) fn of(path: &Path) -> Option<Place> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(Place {
            device: (
                rustix::fs::major(metadata.dev()),
                rustix::fs::minor(metadata.dev()),
            ),
            inode: metadata.ino(),
        })
    }
}

/// One flock(2) lock, or one request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) waiting: bool,
    pub(super) mode: Mode,
    pub(super) pid: u32,
    pub(super) place: Place,
}

impl Entry {
    /// Whether this is a lock that keeps out who asks for `place` in `mode`.
    pub(super) fn blocks(&self, place: Place, mode: Mode) -> bool {
        let shared = self.mode == Mode::Shared && mode == Mode::Shared;
        !self.waiting && self.place == place && !shared
    }
}

/// `1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`; a waiter has ` ->` before
/// the kind. None for other kinds, and where the process is not in our pid namespace.
pub(super) fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split_ascii_whitespace().skip(1).peekable();
    let waiting = words.next_if_eq(&"->").is_some();
    words.next_if_eq(&"FLOCK")?;
    let mode = match words.nth(1)? {
        "WRITE" => Mode::Exclusive,
        "READ" => Mode::Shared,
        _ => return None,
    };
    let pid = words.next()?.parse().ok().filter(|pid| *pid != 0)?;
    let mut place = words.next()?.split(':');
    let major = u32::from_str_radix(place.next()?, 16).ok()?;
    let minor = u32::from_str_radix(place.next()?, 16).ok()?;
    Some(Entry {
        waiting,
        mode,
        pid,
        place: Place {
            device: (major, minor),
            inode: place.next()?.parse().ok()?,
        },
    })
}

/// /proc/locks at one moment.
pub(super) struct Table(Vec<Entry>);

impl Table {
    /// Expensive for the whole host: the kernel lets all lock calls under way finish first.
    pub(super) fn read() -> io::Result<Table> {
        let mut reader = BufReader::with_capacity(32 * 1024, File::open("/proc/locks")?);
        let mut entries = Vec::new();
        let mut line = String::new();
        while reader.read_line(&mut line)? > 0 {
            entries.extend(parse(&line));
            line.clear();
        }
        Ok(Table(entries))
    }

    /// Those who hold the lock that `pid` asks for.
    pub(super) fn holders(&self, place: Place) -> Vec<u32> {
        let held = |entry: &&Entry| !entry.waiting && entry.place == place;
        self.0.iter().filter(held).map(|entry| entry.pid).collect()
    }

    /// The place of `pid` among those who wait, from 1 on, and how many wait.
    pub(super) fn queue(&self, place: Place, pid: u32) -> Option<(usize, usize)> {
        let waits = |entry: &&Entry| entry.waiting && entry.place == place;
        let queue: Vec<_> = self.0.iter().filter(waits).collect();
        let position = queue.iter().position(|entry| entry.pid == pid)?;
        Some((position + 1, queue.len()))
    }

    /// The waiting processes of a ring that `us`, waiting, is part of: us first.
    /// `ancestors` tells the line of parents of a process, `waits` whether one of
    /// them waits for it.
    pub(super) fn ring(
        &self,
        us: u32,
        place: Place,
        mode: Mode,
        ancestors: impl Fn(u32) -> Vec<u32>,
        waits: impl Fn(u32, &[u32]) -> bool,
    ) -> Option<Vec<u32>> {
        let waiters: Vec<Waiter> = self
            .0
            .iter()
            .filter(|entry| entry.waiting && entry.pid != us)
            .map(|entry| Waiter {
                entry: *entry,
                line: ancestors(entry.pid),
            })
            .collect();
        let ours = Waiter {
            entry: Entry {
                waiting: true,
                mode,
                pid: us,
                place,
            },
            line: ancestors(us),
        };
        let mut way = vec![us];
        let mut seen = HashSet::from([us]);
        let runs_for = |waiter: &Waiter, pid| {
            waiter.entry.pid == pid || waiter.line.contains(&pid) && waits(pid, &waiter.line)
        };
        self.follow(&ours, &ours, &waiters, &runs_for, &mut way, &mut seen)
            .then_some(way)
    }

    fn follow(
        &self,
        from: &Waiter,
        ours: &Waiter,
        waiters: &[Waiter],
        runs_for: &impl Fn(&Waiter, u32) -> bool,
        way: &mut Vec<u32>,
        seen: &mut HashSet<u32>,
    ) -> bool {
        let asked = from.entry;
        for holder in self.0.iter().filter(|e| e.blocks(asked.place, asked.mode)) {
            if runs_for(ours, holder.pid) {
                return true;
            }
            for next in waiters.iter().filter(|next| runs_for(next, holder.pid)) {
                if seen.insert(next.entry.pid) {
                    way.push(next.entry.pid);
                    if self.follow(next, ours, waiters, runs_for, way, seen) {
                        return true;
                    }
                    way.pop();
                }
            }
        }
        false
    }
}

struct Waiter {
    entry: Entry,
    line: Vec<u32>,
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
