//! Reads /proc/locks, so that the result lacks as few locks as possible that exist during the whole
//! read.
//!
//! The kernel fills a buffer of one page, lock by lock, each lock with all its waiters. The next
//! read continues at the *number* of the next lock. If an earlier lock was released in between, all
//! later locks have moved up by one number, and the read skips a lock. A read may skip any lock at
//! which it happens to begin. But most often it skips the lock with a long queue, because that lock
//! does not fit into the buffer behind the others, so a read ends there. (The kernel indents each
//! waiter by one space more than the waiter before it. So about forty waiters fill a page, and two
//! thousand waiters take two megabytes.) Measured while other processes are busy with other files:
//! at least every second read skips that lock.
//!
//! * A *seek* walks over the whole table without releasing the kernel's lock on it. It starts again
//!   each time that the buffer must grow, and leaves a buffer that is large enough for the longest
//!   queue.
//! * A seek to a position well behind the last byte tells whether there is more.
//! * If a read ends early, the next read begins some locks further back, which is a seek too. So it
//!   includes the lock that did not fit, unless more locks than that were released meanwhile. Among
//!   the first 500 lines every read goes back; further behind a seek takes too long.
//! * If the table has changed meanwhile, some lines come again: see `repeated`.

use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::repeated;
use super::table::{self, TableEntry};
use crate::sys::checked_file::CheckedFile;

/// The wanted entries of /proc/locks, and how reliable they are.
pub(crate) struct Table {
    pub(crate) entries: Vec<TableEntry>,
    lines: usize,
    /// The text was too long for one read. The table may lack a lock, because another lock was
    /// released between two reads.
    pub(crate) in_pieces: bool,
    /// Another careful read is likely to be better, because the text fits into its buffer. This
    /// table may contain a long queue twice.
    pub(crate) worth_rereading: bool,
    /// A hash of the whole text. If two reads give the same hash, the table most likely did not
    /// change between them, so neither of them lacks a lock.
    pub(crate) hash: u64,
}

/// Reads the wanted part of the table.
pub(crate) fn read(mut wanted: impl FnMut(&TableEntry) -> bool) -> io::Result<Table> {
    let mut reader = LocksReader::open()?;
    let table = reader.read(&mut wanted)?;
    if !reader.has_more(&table)? {
        return Ok(table);
    }
    let table = reader.read_with_care(&mut wanted)?;
    if table.worth_rereading {
        return reader.read_with_care(wanted);
    }
    Ok(table)
}

/// Reads /proc/locks, more than once if needed.
///
/// If no process has read the file for some milliseconds, the kernel first lets all running lock
/// calls finish, which takes some milliseconds more.
pub(crate) struct LocksReader {
    file: CheckedFile,
    buffer: Vec<u8>,
    /// Where the last read ended. A read at this position begins with a whole lock; a read at
    /// another position begins in the middle of a line.
    reached: u64,
    /// How many more lines may be read. A limit of lines limits the time: the kernel takes as long
    /// for a short line as for a long one.
    left: usize,
}

const BEYOND: SeekFrom = SeekFrom::Start(1 << 40);
/// What the kernel returns at once if no lock has a long queue.
const ONE_PAGE: usize = 4096;
const SMALLEST_READ: usize = 32 * 1024;
const LARGEST_READ: usize = 16 * 1024 * 1024;
/// Longer than the line of any lock. (The line of a waiter may be longer.)
const LINE: usize = 256;
/// Up to so many lines, each read goes back.
const NEAR: usize = 500;
/// How many bytes to go back: about fifteen locks, or two if fifteen would leave no room for the
/// lock that did not fit.
const STEPS_BACK: [usize; 2] = [1024, 128];

impl LocksReader {
    pub(crate) fn open() -> io::Result<LocksReader> {
        LocksReader::with_limit(usize::MAX)
    }

    /// Stops after about `lines` lines, even if the table is longer.
    pub(crate) fn with_limit(lines: usize) -> io::Result<LocksReader> {
        Ok(LocksReader {
            file: CheckedFile::open(Path::new("/proc/locks"))?,
            buffer: vec![0; SMALLEST_READ],
            reached: 0,
            left: lines,
        })
    }

    /// Whether the limit allows another careful read of this table, which may read it twice.
    pub(crate) fn affords_again(&self, table: &Table) -> bool {
        self.left / 2 >= table.lines
    }

    /// Reads the table once. All entries are right, but some may be missing.
    pub(crate) fn read(&mut self, wanted: impl FnMut(&TableEntry) -> bool) -> io::Result<Table> {
        self.read_all(wanted, false)
    }

    /// Whether the table has more than the last read returned. A table that came in pieces may lack
    /// a lock in any case, and counts as having more.
    pub(crate) fn has_more(&mut self, table: &Table) -> io::Result<bool> {
        Ok(table.in_pieces || self.read_from(self.reached + STEPS_BACK[0] as u64)? > 0)
    }

    /// Reads the table with a buffer that is large enough for the longest queue. Goes back wherever
    /// a lock may not have fitted into the buffer.
    pub(crate) fn read_with_care(
        &mut self,
        wanted: impl FnMut(&TableEntry) -> bool,
    ) -> io::Result<Table> {
        self.grow_kernel_buffer()?;
        self.read_all(wanted, true)
    }

    /// Makes the kernel's buffer large enough for the longest queue.
    fn grow_kernel_buffer(&mut self) -> io::Result<()> {
        self.file.get()?.seek(BEYOND).map(drop)
    }

    fn read_all(
        &mut self,
        wanted: impl FnMut(&TableEntry) -> bool,
        with_care: bool,
    ) -> io::Result<Table> {
        let mut text = Text::new(wanted);
        let (mut pieces, mut longest) = (0, 0);
        while text.lines.len() < self.left {
            let goes_on = text.position == self.reached || text.position == 0;
            let length = self.read_from(text.position)?;
            if length > 0 {
                if goes_on && with_care {
                    text.append_next(&self.buffer[..length], 0);
                } else if goes_on {
                    text.append(&self.buffer[..length]);
                } else {
                    text.append_from(text.position, &self.buffer[..length]);
                }
                pieces += 1;
                longest = longest.max(length);
                // If our buffer is full, the rest of the kernel's comes next, as it is.
                let is_full = length == self.buffer.len();
                let may_skip = text.lines.len() < NEAR || ends_early(length);
                if !with_care || is_full || !may_skip {
                    continue;
                }
            }
            if with_care && self.look_back(&mut text)? {
                pieces += 1;
            } else if length == 0 {
                break;
            }
        }
        self.left -= text.lines.len().min(self.left);
        // Make room for the whole text, so that the next read returns it at once if the kernel's
        // buffer allows.
        let room = text.length + text.length / 4;
        self.buffer
            .resize(room.clamp(SMALLEST_READ, LARGEST_READ), 0);
        Ok(Table {
            lines: text.lines.len(),
            in_pieces: pieces > 1,
            worth_rereading: pieces > 1 && longest > ONE_PAGE,
            hash: text.hash.finish(),
            entries: text.entries.into_iter().map(|(_, entry)| entry).collect(),
        })
    }

    fn read_from(&mut self, position: u64) -> io::Result<usize> {
        let length = self.file.get()?.read_at(&mut self.buffer, position)?;
        self.reached = position + length as u64;
        Ok(length)
    }

    /// Reads again from a position a little before the end of the last read. Returns whether there
    /// was more text.
    fn look_back<W: FnMut(&TableEntry) -> bool>(&mut self, text: &mut Text<W>) -> io::Result<bool> {
        for step in STEPS_BACK {
            let known = text.last(step);
            let from = text.position - known.len() as u64;
            let length = self.read_from(from)?;
            let piece = &self.buffer[..length];
            if let Some(more) = piece.strip_prefix(known) {
                if !more.is_empty() {
                    text.append(&self.buffer[known.len()..length]);
                    return Ok(true);
                }
            } else if length > known.len() + LINE {
                // The table has changed. The caller drops repeated entries later.
                text.append_from(from, &self.buffer[..length]);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether another line would have fitted into the kernel's buffer, whose size is a power of two.
fn ends_early(length: usize) -> bool {
    length.next_power_of_two() - length > LINE
}

/// The text that was read so far.
struct Text<W> {
    wanted: W,
    /// Each with the number of its line.
    entries: Vec<(usize, TableEntry)>,
    position: u64,
    /// The last bytes of the text.
    tail: Vec<u8>,
    /// The beginning of a line whose end was not read yet.
    line: Vec<u8>,
    /// Whether to skip waiters, because the lock for which they wait was not read.
    skipping_waiters: bool,
    length: usize,
    /// A hash of each line without its number.
    lines: Vec<u64>,
    hash: DefaultHasher,
}

impl<W: FnMut(&TableEntry) -> bool> Text<W> {
    fn new(wanted: W) -> Text<W> {
        Text {
            wanted,
            entries: Vec::new(),
            position: 0,
            tail: Vec::new(),
            line: Vec::new(),
            skipping_waiters: false,
            length: 0,
            lines: Vec::new(),
            hash: DefaultHasher::new(),
        }
    }

    fn append(&mut self, piece: &[u8]) {
        self.position += piece.len() as u64;
        self.length += piece.len();
        self.hash.write(piece);
        let longest = STEPS_BACK[0];
        self.tail
            .extend(&piece[piece.len().saturating_sub(longest)..]);
        self.tail.drain(..self.tail.len().saturating_sub(longest));
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend(part);
            if part.ends_with(b"\n") {
                let entry = std::str::from_utf8(&self.line).ok().and_then(table::parse);
                let number = self.lines.len();
                self.lines.push(hash_of_line(&self.line));
                self.line.clear();
                self.skipping_waiters &= entry.as_ref().is_none_or(|entry| !entry.is_held());
                let whole = entry.filter(|_| !self.skipping_waiters);
                let wanted = whole.filter(&mut self.wanted);
                self.entries.extend(wanted.map(|entry| (number, entry)));
            }
        }
    }

    fn last(&self, step: usize) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(step)..]
    }

    /// Continues at another position, in the middle of a line.
    fn append_from(&mut self, from: u64, piece: &[u8]) {
        let line = piece.iter().position(|byte| *byte == b'\n');
        let whole = line.map_or(piece.len(), |end| end + 1);
        self.position = from + whole as u64;
        let back = self.tail.iter().filter(|byte| **byte == b'\n').count();
        self.tail.clear();
        self.line.clear();
        self.skipping_waiters = true;
        self.append_next(&piece[whole..], back);
    }

    /// Appends what may begin with lines that were read already: about `back` lines, and more or
    /// less if the table has changed. A lock that comes again replaces what was read, with its
    /// waiters.
    fn append_next(&mut self, piece: &[u8], back: usize) {
        let (known, read) = (self.lines.len(), self.entries.len());
        self.append(piece);
        let (before, after) = self.lines.split_at(known);
        let again = repeated::lines(before, after, back);
        if again.is_empty() {
            return;
        }
        let mut is_again = false;
        let mut number = 0;
        self.entries.retain(|(line, entry)| {
            number += 1;
            if entry.is_held() {
                is_again = again.binary_search(line).is_ok();
            }
            number > read || !is_again
        });
    }
}

fn hash_of_line(line: &[u8]) -> u64 {
    let number = line.iter().position(|byte| *byte == b':');
    let mut hash = DefaultHasher::new();
    hash.write(&line[number.unwrap_or(0)..]);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pids of what is read if the table is `after` when the second read begins, `back` bytes
    /// before the end of the first.
    fn read_in_two(before: &[&str], after: &[&str], back: usize) -> Vec<Option<u32>> {
        let numbered = |locks: &[&str]| -> String {
            let lines = locks.iter().zip(1..);
            lines.map(|(lock, at)| format!("{at}: {lock}\n")).collect()
        };
        let mut text = Text::new(|_: &TableEntry| true);
        let (before, after) = (numbered(before), numbered(after));
        text.append(before.as_bytes());
        let from = before.len() - back;
        text.append_from(from as u64, &after.as_bytes()[from..]);
        text.entries.iter().map(|(_, entry)| entry.pid).collect()
    }

    #[test]
    fn what_comes_again_is_read_once() {
        let a = "FLOCK  ADVISORY  READ 10 fe:01:100 0 EOF";
        let b = "FLOCK  ADVISORY  READ 11 fe:01:100 0 EOF";
        let waiter = "-> FLOCK  ADVISORY  WRITE 12 fe:01:100 0 EOF";
        let equal = "OFDLCK ADVISORY  READ -1 fe:01:101 0 EOF";
        let new = "FLOCK  ADVISORY  WRITE 13 fe:01:102 0 EOF";
        let [ten, eleven, twelve, thirteen] = [10, 11, 12, 13].map(Some);
        let before = [a, b, waiter, equal, equal];
        let back = 4 * a.len();
        assert_eq!(
            read_in_two(&before, &[new, a, b, waiter, equal, equal], back),
            [ten, eleven, twelve, None, None]
        );
        assert_eq!(
            read_in_two(&before, &[a, b, waiter, equal, equal, new], back),
            [ten, eleven, twelve, None, None, thirteen]
        );
        // With a new waiter.
        let before = [a, a, a, b, waiter];
        assert_eq!(
            read_in_two(&before, &[a, a, b, waiter, waiter], back),
            [ten, ten, ten, eleven, twelve, twelve]
        );
    }
}
