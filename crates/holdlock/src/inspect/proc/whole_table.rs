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
/// A read in pieces misses some files while other processes lock and release. Further reads add the
/// files that the first one missed. The result may contain locks that were released meanwhile; the
/// callers check that.
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
        let known: HashSet<FileId> = entries.iter().map(|entry| entry.file_id).collect();
        let is_new = |entry: &TableEntry| wanted(entry) && !known.contains(&entry.file_id);
        let mut more = reader.read_with_care(is_new)?;
        entries.append(&mut more.entries);
        if std::mem::replace(&mut table, more).hash == table.hash {
            break;
        }
    }
    Ok(entries)
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
