//! The locks on one file.

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use super::locks_file::{self, Source, Table};
use super::place::Place;
use super::removed;
use super::survey::{Survey, in_other_namespace};
use super::table::{Entry, Kind};
use crate::bytes::Range;
use crate::inspect::{LockedFile, Process, Snapshot};
use crate::sys::file;

/// How often a table that changes all the time is read to be sure that a lock is not in
/// it: as often as this, and for as long as this.
const READS: u32 = 6;
const READING: Duration = Duration::from_millis(50);

/// The file at a path, and removed ones which were there.
pub(crate) fn look(path: &Path) -> io::Result<Snapshot> {
    let place = match file::pin(path, true) {
        Ok(file) => Some(Place::of_open(file.as_fd())?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let device = removed::device_above(path);
    let table = read(
        |entry| Some(entry.place) == place || device == Some(entry.place.device()),
        place,
    )?;
    let (here, on_device) = table
        .entries
        .into_iter()
        .partition(|entry| Some(entry.place) == place);
    let mut snapshot = at(here, place);
    snapshot.files.extend(removed::among(path, on_device).files);
    Ok(snapshot)
}

fn at(entries: Vec<Entry>, place: Option<Place>) -> Snapshot {
    let mut survey = Survey::default();
    survey.take(entries);
    if survey.may_be_shared() && in_other_namespace() {
        survey.take_unlisted(|entry| Some(entry.place) == place);
    }
    survey.finish()
}

/// Reads the table, and again where a lock on `place` may have been missed: until it is found, or
/// the table is twice the same.
fn read(wanted: impl Fn(&Entry) -> bool, place: Option<Place>) -> io::Result<Table> {
    let is_it = |entry: &Entry| Some(entry.place) == place && entry.is_held();
    let has_it = |table: &Table| table.entries.iter().any(is_it);
    let began = Instant::now();
    let mut source = Source::open()?;
    let mut table = source.read(&wanted)?;
    if has_it(&table) && !table.again || !source.has_more(&table)? {
        return Ok(table);
    }
    for reads in 2.. {
        let before = table.text;
        table = source.read_with_care(&wanted)?;
        let in_vain = reads >= READS && began.elapsed() > READING;
        if has_it(&table) || table.text == before || in_vain {
            break;
        }
    }
    Ok(table)
}

/// The locks on this file.
pub(crate) fn at_place(place: Place) -> io::Result<Snapshot> {
    let table = read(|entry| entry.place == place, Some(place))?;
    Ok(at(table.entries, Some(place)))
}

fn file_at(place: Place) -> io::Result<Option<LockedFile>> {
    Ok(at_place(place)?.files.pop())
}

/// The processes that hold a lock on this file, of whichever kind.
pub(crate) fn holders(place: Place) -> io::Result<Vec<Process>> {
    let file = file_at(place)?;
    Ok(file.map_or_else(Vec::new, |file| {
        file.holders().into_iter().cloned().collect()
    }))
}

/// The processes that wait for a lock on this file, in the order of the queue.
pub(crate) fn waiters(place: Place) -> io::Result<Vec<Process>> {
    let file = file_at(place)?;
    let waiters = file.map_or_else(Vec::new, |file| file.waiters);
    Ok(waiters
        .into_iter()
        .filter_map(|waiter| waiter.process)
        .collect())
}

/// The files for which somebody waits, if one of `kept` is among them.
pub(crate) fn contended(kept: &HashSet<Place>) -> io::Result<Option<Snapshot>> {
    let entries = locks_file::read(|_| true)?.entries;
    let waiting = entries.iter().filter(|entry| !entry.is_held());
    let contended: HashSet<Place> = waiting.map(|entry| entry.place).collect();
    if contended.is_disjoint(kept) {
        return Ok(None);
    }
    let mut survey = Survey::default();
    let entries = entries.into_iter();
    survey.take(
        entries
            .filter(|entry| contended.contains(&entry.place))
            .collect(),
    );
    Ok(Some(survey.finish()))
}

/// Whether somebody waits for the bytes that stand for the head of the queue of fair requests for
/// this file, and is no fair request.
pub(crate) fn turn_is_in_the_way(place: Place) -> bool {
    let waits_for_it = |entry: &Entry| {
        entry.place == place
            && !entry.is_held()
            && entry.kind.meets(Kind::Ofd)
            && !entry.is_for_a_turn()
            && entry.range.overlaps(Range::QUEUE)
    };
    locks_file::read(waits_for_it).is_ok_and(|table| !table.entries.is_empty())
}
