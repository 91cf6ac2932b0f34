//! A text of fixed size that people can read, with a checksum at its end.
//!
//! ```text
//! holdlock record 1
//! ...
//! token: 1764128853123456
//! ...
//! checksum: 1a2b3c4d
//! ```
//!
//! The checksum is the CRC-32 of all bytes before its line. Spaces and a line feed fill the rest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::crc32::crc32;
use crate::sys::process;

/// The size of each text in bytes.
pub(super) const SIZE: usize = 1024;

/// The bytes of a text. Because of its alignment it lies in one page of memory, and the kernel
/// copies it into one page of the file: a process that is killed writes all of it or nothing.
#[derive(Clone)]
#[repr(align(1024))]
struct Bytes([u8; SIZE]);

/// A text that is being written.
#[derive(Clone)]
pub(super) struct Text {
    bytes: Bytes,
    length: usize,
    /// From here on, all is filling.
    filled_from: usize,
}

impl Text {
    pub(super) fn new() -> Text {
        Text {
            bytes: Bytes([0; SIZE]),
            length: 0,
            filled_from: SIZE,
        }
    }

    #[cfg(test)]
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes.0[..self.length]).expect("text")
    }

    #[cfg(test)]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Forgets all but the first `length` bytes.
    pub(super) fn truncate(&mut self, length: usize) {
        self.length = length;
    }

    /// Adds bytes. Those which find no room are left out: the lines have a limited length, so that
    /// this does not happen.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = SIZE - self.length;
        debug_assert!(bytes.len() <= room, "the text is too long");
        let bytes = &bytes[..bytes.len().min(room)];
        self.bytes.0[self.length..][..bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
        self.filled_from = self.filled_from.max(self.length);
    }

    /// Adds a number of at least `width` digits.
    #[inline]
    pub(super) fn push_number(&mut self, number: u64, width: usize) {
        let mut digits = [b'0'; 20];
        let mut at = digits.len();
        let mut rest = number;
        while rest > 0 || digits.len() - at < width {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        self.push(&digits[at..]);
    }

    pub(super) fn checksum_of(&self, range: std::ops::Range<usize>, before: u32) -> u32 {
        crc32(before, &self.bytes.0[range])
    }

    /// Adds the line with the checksum and fills the rest.
    pub(super) fn seal(&mut self, checksum: u32) {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.push(b"checksum: ");
        let mut digits = [0; 8];
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = HEX[(checksum >> (28 - 4 * at)) as usize & 0xf];
        }
        self.push(&digits);
        self.push(b"\n");
        self.bytes.0[self.length..self.filled_from].fill(b' ');
        self.filled_from = self.length;
        self.bytes.0[SIZE - 1] = b'\n';
    }

    pub(super) fn is(&self, found: &Found) -> bool {
        found.length == SIZE && found.bytes[..SIZE] == self.bytes.0
    }

    /// Writes the text into a file, by one call.
    pub(super) fn write(&self, file: &File) -> io::Result<()> {
        loop {
            match file.write_at(&self.bytes.0, 0) {
                Ok(SIZE) => return Ok(()),
                Ok(_) => return Err(io::ErrorKind::StorageFull.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Fails if this process may not write a whole text: the kernel would end it by SIGXFSZ, or write
/// only a part.
pub(super) fn check_file_size_limit() -> io::Result<()> {
    let limit = process::file_size_limit();
    if limit >= SIZE as u64 {
        return Ok(());
    }
    let why = format!(
        "this process may write files of {limit} bytes at most, and a record has {SIZE}: raise \
         RLIMIT_FSIZE (ulimit -f)"
    );
    Err(io::Error::new(io::ErrorKind::FileTooLarge, why))
}

/// What is in a file: its first bytes, and one byte more than a text has if the file is longer.
/// Can be read again: to clear a new one each time costs as much as comparing the content.
pub(super) struct Found {
    bytes: [u8; SIZE + 1],
    length: usize,
}

/// What the content of a file is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'f> {
    /// Nothing, or the NUL bytes that a power failure can leave in a file that was just written.
    Nothing,
    /// The lines of a text, without the checksum.
    Lines(&'f str),
    /// It begins as a text and is not whole: it was torn, cut off or changed.
    Damaged,
    /// A text of this later version of the format.
    Newer(u64),
    /// Something else.
    Foreign,
}

impl Found {
    #[cfg(test)]
    pub(super) fn of(content: &[u8]) -> Found {
        let mut bytes = [0; SIZE + 1];
        let length = content.len().min(bytes.len());
        bytes[..length].copy_from_slice(&content[..length]);
        Found { bytes, length }
    }

    pub(super) fn nothing() -> Found {
        Found {
            bytes: [0; SIZE + 1],
            length: 0,
        }
    }

    pub(super) fn read(file: &File) -> io::Result<Found> {
        let mut found = Found::nothing();
        found.read_again(file)?;
        Ok(found)
    }

    pub(super) fn read_again(&mut self, file: &File) -> io::Result<()> {
        loop {
            match file.read_at(&mut self.bytes, 0) {
                Ok(length) => {
                    self.length = length;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// What this is, where texts begin with a line of `kind` and the version 1.
    pub(super) fn content(&self, kind: &str) -> Content<'_> {
        let bytes = &self.bytes[..self.length];
        if bytes.len() <= SIZE && bytes.iter().all(|byte| *byte == 0) {
            return Content::Nothing;
        }
        let Some(after) = bytes.strip_prefix(kind.as_bytes()) else {
            return Content::Foreign;
        };
        if after.is_empty() {
            return Content::Damaged;
        }
        // A text of others may begin with the same words: only a number makes it one of ours.
        let version = after.split(|byte| *byte == b'\n').next();
        let version = version.and_then(|version| std::str::from_utf8(version).ok());
        match version {
            Some("1") if bytes.len() > SIZE => Content::Foreign,
            Some("1") => lines(bytes).map_or(Content::Damaged, Content::Lines),
            Some(number) if is_number(number) => Content::Newer(number.parse().unwrap_or(u64::MAX)),
            _ => Content::Foreign,
        }
    }
}

/// Whether this can be the number of a version: without a sign, and without zeros in front.
fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0') && !text.is_empty()
}

/// The lines of a whole text.
fn lines(bytes: &[u8]) -> Option<&str> {
    if bytes.len() != SIZE {
        return None;
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let (lines, last) = text.trim_ascii_end().rsplit_once('\n')?;
    let checksum = u32::from_str_radix(last.strip_prefix("checksum: ")?, 16).ok()?;
    let covered = &text[..=lines.len()];
    (crc32(0, covered.as_bytes()) == checksum).then_some(lines)
}

/// The lines of a text, as keys and values.
pub(super) struct Values<'l>(Vec<(&'l str, &'l str)>);

impl<'l> Values<'l> {
    pub(super) fn of(lines: &'l str) -> Values<'l> {
        let values = lines.split('\n').filter_map(|line| {
            let (key, value) = line.split_once(':')?;
            Some((key, value.strip_prefix(' ')?))
        });
        Values(values.collect())
    }

    /// The value of the first line with this key.
    pub(super) fn get(&self, key: &str) -> Option<&'l str> {
        let first = self.0.iter().find(|(other, _)| *other == key);
        first.map(|(_, value)| *value)
    }
}

/// A text of others as the value of a line: printable, on one line, and not too long.
pub(super) fn cut(text: &str, longest: usize) -> String {
    let mut text = crate::inspect::printable(text).to_string();
    if text.len() > longest {
        let room = 0..=longest.saturating_sub('…'.len_utf8());
        let cut = room.rev().find(|at| text.is_char_boundary(*at));
        text.truncate(cut.unwrap_or(0));
        text.push('…');
    }
    text
}
