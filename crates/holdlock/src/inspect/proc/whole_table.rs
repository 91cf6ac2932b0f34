//! Reads the lock table of the whole host. The table is large: the kernel returns it in pieces, and
//! may change it between two of them.

use std::collections::{HashMap, HashSet};
use std::io;

use super::file_id::FileId;
use super::locks_file::{LocksReader, Table};
use super::table::TableEntry;
use crate::Mode;

/// How often to read a table that comes in pieces.
const READS: u32 = 3;

/// The wanted entries of the whole table.
///
/// A read in pieces may miss some locks while other processes lock and release, so the result has
/// what several reads found. It may contain locks that were released meanwhile; the callers check
/// that.
pub(crate) fn read(wanted: impl Fn(&TableEntry) -> bool) -> io::Result<Vec<TableEntry>> {
    let mut reader = LocksReader::open()?;
    let table = reader.read(&wanted)?;
    if reader.has_more(&table)? {
        return complete(reader, table, wanted);
    }
    Ok(table.entries)
}

/// Like [`read`], but reads only about the first `lines` lines, so that the locks of other
/// processes do not make it slower. Reads a table of less than half as many lines as carefully as
/// [`read`].
pub(crate) fn read_the_first(
    lines: usize,
    wanted: impl Fn(&TableEntry) -> bool,
) -> io::Result<Vec<TableEntry>> {
    let mut reader = LocksReader::with_limit(lines)?;
    let table = reader.read(&wanted)?;
    if reader.has_more(&table)? {
        return complete(reader, table, wanted);
    }
    Ok(table.entries)
}

fn complete(
    mut reader: LocksReader,
    mut table: Table,
    wanted: impl Fn(&TableEntry) -> bool,
) -> io::Result<Vec<TableEntry>> {
    let mut entries = std::mem::take(&mut table.entries);
    for _ in 1..READS {
        if !reader.affords_again(&table) {
            break;
        }
        let mut more = reader.read_with_care(&wanted)?;
        let earlier = std::mem::replace(&mut entries, std::mem::take(&mut more.entries));
        add_missed(&mut entries, earlier);
        if std::mem::replace(&mut table, more).hash == table.hash {
            break;
        }
    }
    Ok(entries)
}

/// Adds the locks of an earlier read that the last one missed, each with its waiters.
///
/// A lock that excludes one of the last read was not missed: it was released meanwhile. A waiter of
/// the last read may have waited for another lock before.
pub(super) fn add_missed(entries: &mut Vec<TableEntry>, earlier: Vec<TableEntry>) {
    let known: HashSet<TableEntry> = entries.iter().map(without_turn).collect();
    let mut held: HashMap<FileId, Vec<&TableEntry>> = HashMap::new();
    for entry in entries.iter() {
        let of_file = held.entry(entry.file_id).or_default();
        of_file.extend(Some(entry).filter(|entry| entry.is_held()));
    }
    let is_missed = |first: &TableEntry| {
        let Some(others) = held.get(&first.file_id) else {
            return true;
        };
        let mut others = others.iter();
        first.is_held() && !known.contains(first) && !others.any(|other| excludes(first, other))
    };
    let is_known_waiter = |entry: &TableEntry| {
        !entry.is_held() && entry.pid.is_some() && known.contains(&without_turn(entry))
    };
    let belongs = |before: &TableEntry, entry: &TableEntry| {
        before.file_id == entry.file_id && !entry.is_held()
    };
    let queues = earlier.chunk_by(belongs);
    let missed = queues.filter(|queue| is_missed(&queue[0])).flatten();
    let missed: Vec<TableEntry> = missed
        .filter(|entry| !is_known_waiter(entry))
        .cloned()
        .collect();
    entries.extend(missed);
}

fn excludes(one: &TableEntry, other: &TableEntry) -> bool {
    let shared = one.mode == Mode::Shared && other.mode == Mode::Shared;
    one.kind.meets(other.kind) && one.range.overlaps(other.range) && !shared
}

/// The same for each place in a queue.
fn without_turn(entry: &TableEntry) -> TableEntry {
    TableEntry {
        turn: entry.turn.min(1),
        ..entry.clone()
    }
}

/// The entries of each file, in the order of the table.
pub(crate) fn by_file(entries: Vec<TableEntry>) -> Vec<(FileId, Vec<TableEntry>)> {
    let mut files: Vec<(FileId, Vec<TableEntry>)> = Vec::new();
    let mut index: HashMap<FileId, usize> = HashMap::new();
    for entry in entries {
        let at = *index.entry(entry.file_id).or_insert_with(|| {
            files.push((entry.file_id, Vec::new()));
            files.len() - 1
        });
        files[at].1.push(entry);
    }
    for (_, entries) in &mut files {
        drop_repeated(entries);
        // The request at the head of the queue of fair requests waits for the lock itself.
        entries.retain(|entry| !(entry.is_held() && entry.is_for_a_turn()));
    }
    files.retain(|(_, entries)| !entries.is_empty());
    files
}

/// Removes repeated locks and queues. A table in pieces may list a lock twice, each time with all
/// its waiters.
///
/// * Of identical exclusive locks only one can exist: keeps the one with the last queue.
/// * One process may really have two identical shared locks by two descriptors, but a request waits
///   in the queue of only one of them: keeps the last queue.
fn drop_repeated(entries: &mut Vec<TableEntry>) {
    let mut locks: Vec<(TableEntry, Vec<TableEntry>)> = Vec::new();
    // For each lock, its last occurrence with a queue, or its first one if it has no queue.
    let mut latest: HashMap<TableEntry, usize> = HashMap::new();
    for entry in entries.drain(..) {
        if entry.is_held() {
            latest.entry(entry.clone()).or_insert(locks.len());
            locks.push((entry, Vec::new()));
        } else if let Some((lock, queue)) = locks.last_mut() {
            queue.push(entry);
            latest.insert(lock.clone(), locks.len() - 1);
        }
    }
    for (number, (lock, queue)) in locks.into_iter().enumerate() {
        let is_latest = latest.get(&lock) == Some(&number);
        if is_latest || lock.mode == Mode::Shared {
            entries.push(lock);
        }
        entries.extend(queue.into_iter().filter(|_| is_latest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::proc::table::parse;

    /// The turns and pids of what remains.
    fn remaining(lines: &[&str]) -> Vec<(u32, u32)> {
        let entries = lines.iter();
        let mut entries: Vec<TableEntry> = entries.filter_map(|line| parse(line)).collect();
        drop_repeated(&mut entries);
        let entries = entries.iter();
        entries
            .filter_map(|entry| Some((entry.turn, entry.pid?)))
            .collect()
    }

    /// The turns and pids of what is added from an earlier read to the last one.
    fn added(last: &[&str], earlier: &[&str]) -> Vec<(u32, Option<u32>)> {
        let read = |lines: &[&str]| lines.iter().filter_map(|line| parse(line)).collect();
        let mut entries: Vec<TableEntry> = read(last);
        add_missed(&mut entries, read(earlier));
        let added = entries.split_off(last.len()).into_iter();
        added.map(|entry| (entry.turn, entry.pid)).collect()
    }

    #[test]
    fn locks_that_one_read_missed_are_added_from_another() {
        let first = "1: POSIX  ADVISORY  WRITE 10 fe:01:100 0 9";
        let waiter = "1: -> POSIX  ADVISORY  WRITE 11 fe:01:100 0 9";
        let second = "2: POSIX  ADVISORY  WRITE 12 fe:01:100 10 19";
        let its_waiter = "2: -> POSIX  ADVISORY  WRITE 13 fe:01:100 10 19";
        let other_file = "3: FLOCK  ADVISORY  WRITE 14 fe:01:101 0 EOF";
        let all = [first, waiter, second, its_waiter, other_file];
        let [ten, eleven] = [(0, Some(10)), (1, Some(11))];
        let [twelve, thirteen] = [(0, Some(12)), (1, Some(13))];
        let fourteen = (0, Some(14));
        assert_eq!(added(&all, &all), []);
        assert_eq!(added(&[first, waiter], &all), [twelve, thirteen, fourteen]);
        assert_eq!(added(&[second, its_waiter], &all), [ten, eleven, fourteen]);
        // Shared locks do not exclude each other.
        let shared = "1: FLOCK  ADVISORY  READ 10 fe:01:100 0 EOF";
        let more = "2: FLOCK  ADVISORY  READ 12 fe:01:100 0 EOF";
        assert_eq!(added(&[shared], &[shared, more]), [twelve]);
    }

    #[test]
    fn a_lock_that_was_released_meanwhile_was_not_missed() {
        let holder = "1: POSIX  ADVISORY  WRITE 10 fe:01:100 0 9";
        let waiter = "1: -> POSIX  ADVISORY  READ 11 fe:01:100 5 14";
        let next = "1: POSIX  ADVISORY  READ 11 fe:01:100 5 14";
        assert_eq!(added(&[next], &[holder, waiter]), []);
        // The waiter waits for another lock now.
        let other = "2: POSIX  ADVISORY  WRITE 12 fe:01:100 12 12";
        let moved = "2: -> POSIX  ADVISORY  READ 11 fe:01:100 5 14";
        assert_eq!(added(&[other, moved], &[holder, waiter]), [(0, Some(10))]);
    }

    #[test]
    fn an_exclusive_lock_that_was_read_twice_counts_once() {
        let lines = [
            "1: FLOCK  ADVISORY  WRITE 10 fe:01:100 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 11 fe:01:100 0 EOF",
            "2: FLOCK  ADVISORY  WRITE 10 fe:01:100 0 EOF",
            "2: -> FLOCK  ADVISORY  WRITE 11 fe:01:100 0 EOF",
            "2:  -> FLOCK  ADVISORY  WRITE 12 fe:01:100 0 EOF",
        ];
        assert_eq!(remaining(&lines), [(0, 10), (1, 11), (2, 12)]);
        let lines = [
            lines[0],
            "2: FLOCK  ADVISORY  WRITE 13 fe:01:100 0 EOF",
            lines[2],
        ];
        assert_eq!(remaining(&lines), [(0, 10), (0, 13)]);
    }

    #[test]
    fn of_shared_locks_only_the_queue_counts_once() {
        let lines = [
            "1: FLOCK  ADVISORY  READ 10 fe:01:100 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 11 fe:01:100 0 EOF",
            "2: FLOCK  ADVISORY  READ 10 fe:01:100 0 EOF",
            "2: -> FLOCK  ADVISORY  WRITE 11 fe:01:100 0 EOF",
        ];
        assert_eq!(remaining(&lines), [(0, 10), (0, 10), (1, 11)]);
    }
}
