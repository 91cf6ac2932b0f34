//! Reading /proc/locks, so that nothing is missed that was there all the time.
//!
//! The kernel fills a buffer of one page, lock by lock, each with all that wait for it, and goes
//! on at the *number* of the next lock with the next read. If a lock before that was released
//! meanwhile, the next one has that number no more, and is passed over. That can befall each lock
//! at which a read happens to begin; but most of all the one with a long queue, because there a
//! read ends: it does not fit behind the others. (Each waiter is indented by one more than the one
//! before it, so some forty of them take a page, two thousand two megabytes.) Measured, with
//! others busy on other files: missed every other time and more.
//!
//! * A *seek* goes over all of the table without letting go of it, begins anew each time
//!   that the buffer has to grow, and leaves it large enough for the longest queue.
//! * A seek to a place well behind what was read tells whether there is more.
//! * Where a read ends early, the next one begins some locks further back (a seek, too), so that it
//!   comes past the one that did not fit, whatever was released meanwhile.

use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::table::{self, Entry};

/// Those entries of /proc/locks that are wanted, and whether they came in one piece.
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
    lines: usize,
    /// The text was too long for one read: a lock may have been missed, because another one was
    /// released between two reads.
    pub(crate) torn: bool,
    /// A careful read has a buffer in which it will fit better: a long queue may have been
    /// told of twice.
    pub(crate) again: bool,
    /// A number for the whole text: two reads with the same number have most likely seen a table that
    /// did not change meanwhile, and so missed nothing.
    pub(crate) text: u64,
}

/// The wanted part of the table.
pub(crate) fn read(mut wanted: impl FnMut(&Entry) -> bool) -> io::Result<Table> {
    let mut source = Source::open()?;
    let table = source.read(&mut wanted)?;
    if !source.has_more(&table)? {
        return Ok(table);
    }
    let table = source.read_with_care(&mut wanted)?;
    if table.again {
        return source.read_with_care(wanted);
    }
    Ok(table)
}

/// /proc/locks.
///
/// When nobody has read it for some milliseconds, the kernel first lets all lock calls under way
/// finish, which takes some milliseconds more.
pub(crate) struct Source {
    file: File,
    buffer: Vec<u8>,
    /// Where the last read ended: the next one goes on there at a lock, and elsewhere
    /// begins with whatever is at that byte.
    reached: u64,
    /// How many lines may yet be read. The kernel takes as long for a short one as for a long one.
    left: usize,
}

const BEYOND: SeekFrom = SeekFrom::Start(1 << 40);
/// What the kernel gives at once where no lock has a long queue.
const ONE_PAGE: usize = 4096;
const SMALLEST_READ: usize = 32 * 1024;
const LARGEST_READ: usize = 16 * 1024 * 1024;
/// More than the longest line that waits for nothing.
const LINE: usize = 256;
/// How far back to begin: some fifteen locks; or two, where more would leave no room for
/// the one that did not fit.
const STEPS_BACK: [usize; 2] = [1024, 128];

impl Source {
    pub(crate) fn open() -> io::Result<Source> {
        Source::with_limit(usize::MAX)
    }

    /// One that reads no more than about so many lines: a table that is longer ends there.
    pub(crate) fn with_limit(lines: usize) -> io::Result<Source> {
        Ok(Source {
            file: File::open("/proc/locks")?,
            buffer: vec![0; SMALLEST_READ],
            reached: 0,
            left: lines,
        })
    }

    /// Whether the limit leaves room for reading this table again, with care: twice, that is.
    pub(crate) fn affords_again(&self, table: &Table) -> bool {
        self.left / 2 >= table.lines
    }

    /// Reads the table once. What is found is so, but something may be missed.
    pub(crate) fn read(&mut self, wanted: impl FnMut(&Entry) -> bool) -> io::Result<Table> {
        self.go_over(wanted, false)
    }

    /// Whether there is more than was just read: for one whole piece that can be told.
    pub(crate) fn has_more(&mut self, table: &Table) -> io::Result<bool> {
        Ok(table.torn || self.read_from(self.reached + STEPS_BACK[0] as u64)? > 0)
    }

    /// Reads the table with a buffer large enough for the longest queue, and with a look back
    /// wherever one may not have fitted.
    pub(crate) fn read_with_care(
        &mut self,
        wanted: impl FnMut(&Entry) -> bool,
    ) -> io::Result<Table> {
        self.settle()?;
        self.go_over(wanted, true)
    }

    /// Lets the kernel make its buffer large enough for the longest queue.
    fn settle(&mut self) -> io::Result<()> {
        self.file.seek(BEYOND).map(drop)
    }

    fn go_over(
        &mut self,
        wanted: impl FnMut(&Entry) -> bool,
        with_care: bool,
    ) -> io::Result<Table> {
        let mut text = Text::new(wanted);
        let (mut pieces, mut longest) = (0, 0);
        while text.lines < self.left {
            let goes_on = text.position == self.reached || text.position == 0;
            let length = self.read_from(text.position)?;
            if length > 0 {
                if goes_on {
                    text.take(&self.buffer[..length]);
                } else {
                    text.take_some(text.position, &self.buffer[..length]);
                }
                pieces += 1;
                longest = longest.max(length);
                if !(with_care && self.ends_early(length)) {
                    continue;
                }
            }
            if with_care && self.look_back(&mut text)? {
                pieces += 1;
            } else if length == 0 {
                break;
            }
        }
        self.left -= text.lines.min(self.left);
        // The next time, all in one piece where the kernel's buffer has it.
        let room = text.length + text.length / 4;
        self.buffer
            .resize(room.clamp(SMALLEST_READ, LARGEST_READ), 0);
        Ok(Table {
            lines: text.lines,
            torn: pieces > 1,
            again: pieces > 1 && longest > ONE_PAGE,
            text: text.hash.finish(),
            entries: text.entries,
        })
    }

    fn read_from(&mut self, position: u64) -> io::Result<usize> {
        let length = self.file.read_at(&mut self.buffer, position)?;
        self.reached = position + length as u64;
        Ok(length)
    }

    /// Whether the kernel's buffer, which is a power of two, had room for another line.
    fn ends_early(&self, length: usize) -> bool {
        length < self.buffer.len() && length.next_power_of_two() - length > LINE
    }

    /// Reads again from a little before the place reached. Whether there was more behind it.
    fn look_back<W: FnMut(&Entry) -> bool>(&mut self, text: &mut Text<W>) -> io::Result<bool> {
        for step in STEPS_BACK {
            let known = text.last(step);
            let from = text.position - known.len() as u64;
            let length = self.read_from(from)?;
            let piece = &self.buffer[..length];
            if let Some(more) = piece.strip_prefix(known) {
                if !more.is_empty() {
                    text.take(&self.buffer[known.len()..length]);
                    return Ok(true);
                }
            } else if length > known.len() + LINE {
                // Others have come and gone. What is told of twice is left out later.
                text.take_some(from, &self.buffer[..length]);
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// What was read so far.
struct Text<W> {
    wanted: W,
    entries: Vec<Entry>,
    position: u64,
    /// The last bytes of it.
    tail: Vec<u8>,
    /// The begin of a line whose end has not come yet.
    line: Vec<u8>,
    /// The lock for which the next ones wait was not read.
    headless: bool,
    length: usize,
    lines: usize,
    hash: DefaultHasher,
}

impl<W: FnMut(&Entry) -> bool> Text<W> {
    fn new(wanted: W) -> Text<W> {
        Text {
            wanted,
            entries: Vec::new(),
            position: 0,
            tail: Vec::new(),
            line: Vec::new(),
            headless: false,
            length: 0,
            lines: 0,
            hash: DefaultHasher::new(),
        }
    }

    fn take(&mut self, piece: &[u8]) {
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
                self.lines += 1;
                let entry = std::str::from_utf8(&self.line).ok().and_then(table::parse);
                self.line.clear();
                self.headless &= entry.as_ref().is_none_or(|entry| !entry.is_held());
                let whole = entry.filter(|_| !self.headless);
                self.entries.extend(whole.filter(&mut self.wanted));
            }
        }
    }

    fn last(&self, step: usize) -> &[u8] {
        &self.tail[self.tail.len().saturating_sub(step)..]
    }

    /// Goes on at another place, in the middle of a line.
    fn take_some(&mut self, from: u64, piece: &[u8]) {
        let line = piece.iter().position(|byte| *byte == b'\n');
        let whole = line.map_or(piece.len(), |end| end + 1);
        self.position = from + whole as u64;
        self.tail.clear();
        self.line.clear();
        self.headless = true;
        self.take(&piece[whole..]);
    }
}
