//! The lock table of the whole host: large, and told by the kernel in pieces between which it
//! changes.

use std::collections::{HashMap, HashSet};
use std::io;

use super::locks_file::{Source, Table};
use super::place::Place;
use super::table::Entry;

/// How often a table that comes in pieces is read.
const READS: u32 = 3;

/// What is wanted of the whole table. While others lock and release, a read in pieces misses some
/// files: those that another read has are added. What was released by then is noticed later.
pub(crate) fn read(wanted: impl Fn(&Entry) -> bool) -> io::Result<Vec<Entry>> {
    let mut source = Source::open()?;
    let table = source.read(&wanted)?;
    if source.has_more(&table)? {
        return complete(source, table, wanted);
    }
    Ok(table.entries)
}

/// The same of about the first so many lines: what that takes does not grow with what others
/// lock. A table of less than half as many is read as carefully as by [`read`].
pub(crate) fn read_the_first(
    lines: usize,
    wanted: impl Fn(&Entry) -> bool,
) -> io::Result<Vec<Entry>> {
    let mut source = Source::with_limit(lines)?;
    let table = source.read(&wanted)?;
    if source.has_more(&table)? {
        return complete(source, table, wanted);
    }
    Ok(table.entries)
}

fn complete(
    mut source: Source,
    mut table: Table,
    wanted: impl Fn(&Entry) -> bool,
) -> io::Result<Vec<Entry>> {
    let mut entries = std::mem::take(&mut table.entries);
    for _ in 1..READS {
        if !source.affords_again(&table) {
            break;
        }
        let known: HashSet<Place> = entries.iter().map(|entry| entry.place).collect();
        let is_new = |entry: &Entry| wanted(entry) && !known.contains(&entry.place);
        let mut more = source.read_with_care(is_new)?;
        entries.append(&mut more.entries);
        if std::mem::replace(&mut table, more).text == table.text {
            break;
        }
    }
    Ok(entries)
}

/// The entries of each file, in the order of the table.
pub(crate) fn by_file(entries: Vec<Entry>) -> Vec<(Place, Vec<Entry>)> {
    let mut files: Vec<(Place, Vec<Entry>)> = Vec::new();
    let mut index: HashMap<Place, usize> = HashMap::new();
    for entry in entries {
        let at = *index.entry(entry.place).or_insert_with(|| {
            files.push((entry.place, Vec::new()));
            files.len() - 1
        });
        files[at].1.push(entry);
    }
    for (_, entries) in &mut files {
        forget_repeated_queues(entries);
        // Who stands at the head waits for the lock itself.
        entries.retain(|entry| !(entry.is_held() && entry.is_for_a_turn()));
    }
    files.retain(|(_, entries)| !entries.is_empty());
    files
}

/// A table in pieces may tell of a lock twice, with all that wait for it: of its queues the
/// last is kept. (Two locks may well be alike, of one process by two descriptors; but who waits
/// for such a pair waits at one of them.)
fn forget_repeated_queues(entries: &mut Vec<Entry>) {
    if !entries.iter().any(|entry| !entry.is_held()) {
        return;
    }
    let mut queues: Vec<(Entry, Vec<Entry>)> = Vec::new();
    let mut latest: HashMap<Entry, usize> = HashMap::new();
    for entry in entries.drain(..) {
        if entry.is_held() {
            queues.push((entry, Vec::new()));
        } else if let Some((lock, queue)) = queues.last_mut() {
            queue.push(entry);
            latest.insert(lock.clone(), queues.len() - 1);
        }
    }
    for (number, (lock, queue)) in queues.into_iter().enumerate() {
        let is_latest = latest.get(&lock) == Some(&number);
        entries.push(lock);
        entries.extend(queue.into_iter().filter(|_| is_latest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_told_twice_counts_once() {
        let lines = [
            "1: FLOCK  ADVISORY  WRITE 10 fe:01:100 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 11 fe:01:100 0 EOF",
            "2: FLOCK  ADVISORY  WRITE 10 fe:01:100 0 EOF",
            "2: -> FLOCK  ADVISORY  WRITE 11 fe:01:100 0 EOF",
            "2:  -> FLOCK  ADVISORY  WRITE 12 fe:01:100 0 EOF",
        ];
        let mut entries: Vec<Entry> = lines
            .iter()
            .filter_map(|line| crate::inspect::proc::table::parse(line))
            .collect();
        forget_repeated_queues(&mut entries);
        let turns: Vec<(u32, u32)> = entries
            .iter()
            .filter_map(|entry| Some((entry.turn, entry.pid?)))
            .collect();
        assert_eq!(turns, [(0, 10), (0, 10), (1, 11), (2, 12)]);
    }
}
