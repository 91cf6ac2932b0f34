//! Finds the locks on one file.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::file_id::FileId;
use super::locks_file::{self, LocksReader};
use super::process::Process;
use super::removed;
use super::survey::{Survey, in_other_namespace};
use super::table::{Kind, TableEntry};
use super::whole_table;
use crate::Mode;
use crate::bytes::Range;
use crate::inspect::snapshot::{LockedFile, Snapshot};
use crate::sys::file;

/// How often to read a table that comes in pieces, if it has the file.
const READS: u32 = 5;
/// When to stop reading a table that changes all the time, and to accept that it may lack a lock:
/// after this many reads and after this time.
const MIN_READS: u32 = 6;
const MIN_TIME: Duration = Duration::from_millis(50);

/// The locks on the file at a path, and on removed files that were at this path.
pub(crate) fn look(path: &Path) -> io::Result<Snapshot> {
    let file_id = match file::pin(path, true) {
        Ok(file) => Some(FileId::of_open(file.as_fd())?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let device = removed::device_above(path);
    let entries = read(
        |entry| Some(entry.file_id) == file_id || device == Some(entry.file_id.device()),
        file_id,
    )?;
    let (here, on_device) = entries
        .into_iter()
        .partition(|entry| Some(entry.file_id) == file_id);
    let mut snapshot = at(here, file_id);
    snapshot.files.extend(removed::among(path, on_device).files);
    Ok(snapshot)
}

fn at(entries: Vec<TableEntry>, file_id: Option<FileId>) -> Snapshot {
    let mut survey = Survey::default();
    survey.add(entries);
    if survey.may_be_shared() && in_other_namespace() {
        survey.add_unlisted(|entry| Some(entry.file_id) == file_id);
    }
    survey.finish()
}

/// Reads the table. If it may lack a lock on `place`, reads it again: until two reads say the same
/// of this file and nothing is known besides, or the first [`READS`] have found it; and longer if
/// they have not.
fn read(
    wanted: impl Fn(&TableEntry) -> bool,
    place: Option<FileId>,
) -> io::Result<Vec<TableEntry>> {
    let at_place = |entries: &[TableEntry]| -> Vec<TableEntry> {
        let at_place = entries.iter().filter(|entry| Some(entry.file_id) == place);
        at_place.cloned().collect()
    };
    let began = Instant::now();
    let mut reader = LocksReader::open()?;
    let mut table = reader.read(&wanted)?;
    let mut entries = std::mem::take(&mut table.entries);
    let mut seen = at_place(&entries);
    if is_alone(&seen) && !table.worth_rereading || !reader.has_more(&table)? {
        return Ok(entries);
    }
    for reads in 2.. {
        let before = table.hash;
        table = reader.read_with_care(&wanted)?;
        let earlier = std::mem::replace(&mut entries, std::mem::take(&mut table.entries));
        let now = at_place(&entries);
        whole_table::add_missed(&mut entries, earlier);
        let known = at_place(&entries);
        let has_it = known.iter().any(TableEntry::is_held);
        let is_settled = now == seen && now == known;
        let in_vain = reads >= MIN_READS && began.elapsed() > MIN_TIME;
        if has_it && (is_settled || reads >= READS) || table.hash == before || in_vain {
            break;
        }
        seen = now;
    }
    Ok(entries)
}

/// Whether these entries are an exclusive lock of flock(2) with its waiters, as usual. No other
/// lock of that kind can be there, and those who use other kinds rarely use this one as well.
fn is_alone(of_file: &[TableEntry]) -> bool {
    let is_exclusive = |entry: &TableEntry| entry.is_held() && entry.mode == Mode::Exclusive;
    of_file.first().is_some_and(is_exclusive)
        && of_file.iter().all(|entry| entry.kind == Kind::Flock)
}

/// The locks on this file.
pub(crate) fn at_place(file_id: FileId) -> io::Result<Snapshot> {
    let entries = read(|entry| entry.file_id == file_id, Some(file_id))?;
    Ok(at(entries, Some(file_id)))
}

fn file_at(file_id: FileId) -> io::Result<Option<LockedFile>> {
    Ok(at_place(file_id)?.files.pop())
}

/// The processes that hold a lock on this file, of whichever kind.
pub(crate) fn holders(file_id: FileId) -> io::Result<Vec<Process>> {
    let file = file_at(file_id)?;
    Ok(file.map_or_else(Vec::new, |file| {
        file.holders().into_iter().cloned().collect()
    }))
}

/// The processes that wait for a lock on this file, in the order of the queue.
pub(crate) fn waiters(file_id: FileId) -> io::Result<Vec<Process>> {
    let file = file_at(file_id)?;
    let waiters = file.map_or_else(Vec::new, |file| file.waiters);
    Ok(waiters
        .into_iter()
        .filter_map(|waiter| waiter.process)
        .collect())
}

/// The files with waiting requests. `None` if no file of `kept` is among them.
pub(crate) fn contended(kept: &HashSet<FileId>) -> io::Result<Option<Snapshot>> {
    let entries = locks_file::read(|_| true)?.entries;
    let waiting = entries.iter().filter(|entry| !entry.is_held());
    let contended: HashSet<FileId> = waiting.map(|entry| entry.file_id).collect();
    if contended.is_disjoint(kept) {
        return Ok(None);
    }
    let mut survey = Survey::default();
    let entries = entries.into_iter();
    survey.add(
        entries
            .filter(|entry| contended.contains(&entry.file_id))
            .collect(),
    );
    Ok(Some(survey.finish()))
}

/// Whether another request than a fair one waits for the bytes of the queue: the bytes that fair
/// requests for this file lock while they are at the head of their queue.
pub(crate) fn turn_is_in_the_way(file_id: FileId) -> bool {
    let waits_for_it = |entry: &TableEntry| {
        entry.file_id == file_id
            && !entry.is_held()
            && entry.kind.meets(Kind::Ofd)
            && !entry.is_for_a_turn()
            && entry.range.overlaps(Range::QUEUE)
    };
    locks_file::read(waits_for_it).is_ok_and(|table| !table.entries.is_empty())
}
