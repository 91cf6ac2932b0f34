//! Writes the record while this process holds the exclusive lock.
//!
//! An acquisition reads the last record and writes its own, and a release writes the state: each
//! time the whole text by one call. If a process is killed before the first write, the record does
//! not show that it held the lock. If it is killed between the two writes, the record shows the
//! lock as held.
//!
//! # The token
//!
//! A token is one more than the last one, or the wall clock in microseconds if that is more. Tokens
//! therefore rise while the last record can be read, whatever the clock shows. If the last record
//! is lost, they still rise if the clock has not been set back. A record is lost if the file is
//! removed, truncated (`9>file` in a shell does that) or restored from an old copy, or if the power
//! fails before the kernel has written the file to the disk. fdatasync(2) would only help against
//! the last of these, and takes milliseconds.
//!
//! Tokens stay below 2^53 until the year 2255: programs that have all numbers as floating point
//! (JavaScript, awk) read them exactly.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use super::format::{self, TOKEN_END};
use super::sealed::{Content, Found, Text, check_file_size_limit};
use super::{Entry, Moment, Record, RecordState, Run};
use crate::acquire::open::LockFile;
use crate::acquire::release::closed_by_others;
use crate::sys::file_system;

/// After this time a holder looks whether the file still has its record, before it writes again. To
/// look after each short section would cost a third of what the record costs.
const LONG: Duration = Duration::from_millis(1);

/// What this process knows of the record, and the text that it wrote last.
pub(crate) struct Recorder {
    text: Text,
    /// What was read last.
    found: Found,
    /// The lines that seldom change, if they are in the text.
    begin: Option<Part>,
    /// All lines before that with the state.
    acquired: Part,
    /// The lines about this process; empty before the first use.
    process: Vec<u8>,
    /// Of the last record that this process wrote or read.
    token: u64,
    since: Option<Moment>,
    note: Option<Box<str>>,
    last_run: Option<Run>,
    last_success: Option<Moment>,
    /// The text in the file says that this process holds the lock, and it does.
    is_held: bool,
    /// The text in the file says that this process has released the lock, and the process has kept
    /// the kernel's lock for another thread.
    is_kept: bool,
}

/// The first part of the text.
#[derive(Clone, Copy, Default)]
struct Part {
    length: usize,
    checksum: u32,
}

impl Part {
    /// All of the text, of which this part is the beginning.
    fn extended(self, text: &Text) -> Part {
        let length = text.length();
        Part {
            length,
            checksum: text.checksum_of(self.length..length, self.checksum),
        }
    }
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder {
            text: Text::new(),
            found: Found::nothing(),
            begin: None,
            acquired: Part::default(),
            process: Vec::new(),
            token: 0,
            since: None,
            note: None,
            last_run: None,
            last_success: None,
            is_held: false,
            is_kept: false,
        }
    }

    /// This process has acquired the exclusive lock: writes that.
    pub(crate) fn acquired(&mut self, file: &LockFile, note: Option<&str>) -> io::Result<Entry> {
        let is_known = std::mem::take(&mut self.is_kept) && !self.is_long();
        let abandoned = if is_known { None } else { self.look(file)? };
        let since = Moment::now();
        let next = since.wall_clock().max(self.token + 1);
        if next >= TOKEN_END {
            return Err(no_higher_token(self.token));
        }
        self.token = next;
        self.since = Some(since);
        if self.note.as_deref() != note {
            self.note = note.map(Box::from);
            self.begin = None;
        }
        self.is_held = false;
        self.write(file.file(), RecordState::Held)?;
        self.is_held = true;
        Ok(Entry {
            token: self.token,
            abandoned: abandoned.map(Box::new),
        })
    }

    /// Reads the record of the last holder, and returns it if that holder has not released the
    /// lock.
    fn look(&mut self, file: &LockFile) -> io::Result<Option<Record>> {
        if self.is_ours(file)? {
            return Ok(None); // the last holder was this process, which has released the lock
        }
        let last = understood(&self.found)?;
        if last.is_none() && !file.is_ours() {
            // The number may be another file's, and that file may be empty.
            return Err(closed_by_others());
        }
        self.begin = None;
        self.last_run = last.as_ref().and_then(|last| last.last_run);
        self.last_success = last.as_ref().and_then(|last| last.last_success);
        let token = last.as_ref().map_or(0, |last| last.token);
        // If the record was lost, the next token is above the last one of this process. But nobody
        // comes near the end by counting: then the user has removed the file to begin anew.
        let known = Some(self.token).filter(|known| *known < TOKEN_END / 2);
        self.token = known.map_or(token, |known| known.max(token));
        Ok(last.filter(|last| last.state == RecordState::Held))
    }

    /// This process gives the exclusive lock up: writes that, if the record still says the
    /// opposite. The caller has made sure that the descriptor is ours.
    pub(crate) fn ends(&mut self, file: &LockFile, state: RecordState) -> io::Result<()> {
        self.is_kept = false;
        if !std::mem::take(&mut self.is_held) {
            return Ok(());
        }
        if self.is_long() && !self.is_ours(file)? {
            return Ok(());
        }
        self.write_state(file.file(), state)
    }

    /// The same for a thread, if the process keeps the kernel's lock for its next thread. Nobody
    /// else can write the record meanwhile, so that thread need not read it.
    pub(crate) fn passes_on(&mut self, file: &LockFile) -> io::Result<()> {
        let is_written = self.is_held && !self.is_long();
        self.ends(file, RecordState::Released)?;
        self.is_kept = is_written;
        Ok(())
    }

    /// Whether the last acquisition was long ago.
    fn is_long(&self) -> bool {
        self.since.is_none_or(|since| since.is_past(LONG))
    }

    /// Whether the file still has the text that this process wrote. If the lock file turns out to
    /// be the data of the program that runs under the lock, that data must not be overwritten.
    fn is_ours(&mut self, file: &LockFile) -> io::Result<bool> {
        self.found.read_again(file.file())?;
        Ok(self.text.is(&self.found))
    }

    /// This process has lost the lock, and may not write.
    pub(crate) fn lost(&mut self) {
        self.is_held = false;
        self.is_kept = false;
    }

    /// Records a command that runs, or has run, under the lock.
    pub(crate) fn run(&mut self, file: &LockFile, run: Run) -> io::Result<()> {
        self.begin = None;
        self.is_held = self.is_held && self.is_ours(file)?;
        self.last_run = Some(run);
        if run.ended.is_some() && run.exit == Some(0) {
            self.last_success = Some(run.began);
        }
        if self.is_held {
            self.write(file.file(), RecordState::Held)
        } else {
            Ok(())
        }
    }

    /// Writes the record of the last holder again, with the present token: the next holder is told
    /// of it as this one was.
    pub(crate) fn leave_abandoned(&mut self, file: &File, last: &Record) -> io::Result<()> {
        let ours = std::mem::replace(&mut self.process, format::lines_of(last));
        self.since = Some(last.since);
        self.note = last.note.as_deref().map(Box::from);
        self.begin = None;
        let written = self.write(file, RecordState::Held);
        *self = Recorder {
            process: ours,
            token: self.token,
            ..Recorder::new()
        };
        written
    }

    /// The same for a lock that was handed over with this token. Does nothing if the file no longer
    /// says so.
    pub(super) fn take_back(file: &File, token: u64, last: &Record) -> io::Result<()> {
        let found = Found::read(file)?;
        let record = understood(&found)?;
        let is_ours =
            |record: &Record| record.token == token && record.state == RecordState::HandedOver;
        if !record.as_ref().is_some_and(is_ours) {
            return Ok(());
        }
        let mut recorder = Recorder {
            token,
            last_run: record.as_ref().and_then(|record| record.last_run),
            last_success: record.as_ref().and_then(|record| record.last_success),
            ..Recorder::new()
        };
        recorder.leave_abandoned(file, last)
    }

    fn write(&mut self, file: &File, state: RecordState) -> io::Result<()> {
        let begin = match self.begin {
            Some(begin) => begin,
            None => self.write_begin()?,
        };
        self.text.truncate(begin.length);
        let since = self.since.unwrap_or_else(Moment::now);
        format::acquired(&mut self.text, self.token, since);
        self.acquired = begin.extended(&self.text);
        self.write_state(file, state)
    }

    fn write_begin(&mut self) -> io::Result<Part> {
        if self.process.is_empty() {
            check_file_size_limit()?;
            self.process = format::lines_of_this_process();
        }
        format::begin(
            &mut self.text,
            &self.process,
            self.note.as_deref(),
            self.last_run,
            self.last_success,
        );
        Ok(*self.begin.insert(Part::default().extended(&self.text)))
    }

    fn write_state(&mut self, file: &File, state: RecordState) -> io::Result<()> {
        self.text.truncate(self.acquired.length);
        self.text.push(format::state_line(state));
        let all = self.acquired.extended(&self.text);
        self.text.seal(all.checksum);
        self.text.write(file)
    }
}

/// The record that was found. None where there is none yet, or where it was torn.
fn understood(found: &Found) -> io::Result<Option<Record>> {
    let refused = |why: String| Err(io::Error::new(io::ErrorKind::InvalidData, why));
    match found.content(format::KIND) {
        Content::Nothing | Content::Damaged => Ok(None),
        Content::Lines(lines) => match format::parse(lines) {
            Some(record) => Ok(Some(record)),
            None => refused(
                "it has a record with lines that holdlock does not write; remove the file while \
                 nobody uses the lock"
                    .to_owned(),
            ),
        },
        Content::Newer(version) => refused(format!(
            "it has a record of format {version}, and this version of holdlock knows format 1; \
             update it"
        )),
        Content::Foreign => refused(
            "it has content that is not a record of holdlock, and is left as it is; name a file of \
             its own for the lock, or do without the record"
                .to_owned(),
        ),
    }
}

fn no_higher_token(last: u64) -> io::Error {
    let why = format!(
        "its token, {last}, is the highest possible, and a token has to rise; remove the file while \
         nobody uses the lock"
    );
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Whether the file can have a record: it is a regular file that is empty or has one.
pub(crate) fn check(file: &LockFile) -> io::Result<()> {
    let is_the_kernels = file_system::is_the_kernels(file.as_fd());
    if !file.file().metadata()?.is_file() || is_the_kernels {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "only a regular file can have a record, and none in /proc or /sys; name a file of its \
             own for the lock",
        ));
    }
    understood(&Found::read(file.file())?).map(drop)
}
