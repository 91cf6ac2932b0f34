//! Lists a directory: getdents64(2).
//!
//! Other code of the process may close the descriptor meanwhile. `std::fs::read_dir` then panics
//! when it is dropped. A [`Directory`] opens the directory again and continues at the same position
//! instead: a search that sees only the first processes of /proc could miss the holder of a lock.
//!
//! Nearly all listings are of /proc. They are open for microseconds and are many, so the descriptor
//! is not checked as that of a [`checked_file`](super::checked_file) is.

use std::ffi::CStr;
use std::fs::OpenOptions;
use std::io::{self, Seek, SeekFrom};
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::by_number::getdents64;

/// As much as the C libraries read at once.
const BUFFER_SIZE: usize = 32 * 1024;
/// How often a directory is opened again at most.
const MAX_REOPENINGS: usize = 16;

/// The entries of a directory, without `.` and `..`. Reads the directory as it goes. Nothing comes
/// after an error.
pub(crate) struct Directory {
    /// None: the descriptor is no longer ours, or the listing is over.
    fd: Option<RawFd>,
    /// None: the directory is not opened again.
    path: Option<PathBuf>,
    reopenings: usize,
    entries: Vec<u8>,
    /// Where the next entry is in `entries`.
    next: usize,
    /// The position in the directory after the last entry.
    position: u64,
}

/// An entry of a directory.
pub(crate) struct Entry {
    pub(crate) inode: u64,
    /// The name, if it is a number.
    pub(crate) number: Option<u32>,
}

impl Directory {
    pub(crate) fn open(path: impl AsRef<Path>) -> io::Result<Directory> {
        let path = path.as_ref();
        Ok(Directory::new(open_at(path, 0)?, Some(path.to_owned())))
    }

    /// The directory of a [pinned](super::pin) descriptor. It is not opened again: if other code
    /// has closed descriptors, the number may be another directory's by then.
    pub(crate) fn open_pinned(pinned: BorrowedFd<'_>) -> io::Result<Directory> {
        let path = format!("/proc/thread-self/fd/{}", pinned.as_raw_fd());
        Ok(Directory::new(open_at(Path::new(&path), 0)?, None))
    }

    fn new(fd: RawFd, path: Option<PathBuf>) -> Directory {
        Directory {
            fd: Some(fd),
            path,
            reopenings: 0,
            entries: Vec::with_capacity(BUFFER_SIZE),
            next: 0,
            position: 0,
        }
    }

    /// Reads entries. False: there are no more.
    fn read(&mut self) -> io::Result<bool> {
        loop {
            let Some(fd) = self.fd else {
                return Ok(false);
            };
            self.next = 0;
            let Err(error) = getdents64(fd, &mut self.entries) else {
                return Ok(!self.entries.is_empty());
            };
            match error.raw_os_error() {
                // The process whose directory this is has ended.
                Some(libc::ENOENT) => return Ok(false),
                // Other code has closed the descriptor. Its number is not ours to close.
                Some(libc::EBADF | libc::ENOTDIR) => {
                    self.fd = None;
                    self.fd = Some(self.open_again().ok_or(error)??);
                }
                _ => return Err(error),
            }
        }
    }

    fn open_again(&mut self) -> Option<io::Result<RawFd>> {
        let path = self.path.as_ref()?;
        self.reopenings += 1;
        (self.reopenings <= MAX_REOPENINGS).then(|| open_at(path, self.position))
    }

    /// The next entry that was read, also `.` and `..`. Its first bytes are its name.
    fn take(&mut self) -> Option<(u64, &[u8])> {
        type Header = libc::dirent64;
        let entry = self.entries.get(self.next..)?;
        let length = entry.get(offset_of!(Header, d_reclen)..)?.first_chunk()?;
        let entry = entry.get(..usize::from(u16::from_ne_bytes(*length)))?;
        let number = |at| Some(u64::from_ne_bytes(*entry.get(at..)?.first_chunk()?));
        let name = entry.get(offset_of!(Header, d_name)..)?;
        let name = CStr::from_bytes_until_nul(name).ok()?;
        self.position = number(offset_of!(Header, d_off))?;
        self.next += entry.len();
        Some((number(offset_of!(Header, d_ino))?, name.to_bytes()))
    }

    fn close(&mut self) {
        if let Some(fd) = self.fd.take() {
            // Not as an OwnedFd, which aborts a debug build if other code has closed it.
            // SAFETY: takes no pointers. The number was opened here and given to nothing else.
            unsafe { libc::close(fd) };
        }
    }
}

impl Iterator for Directory {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<io::Result<Entry>> {
        loop {
            while let Some((inode, name)) = self.take() {
                if name != b"." && name != b".." {
                    let number = std::str::from_utf8(name).ok();
                    let number = number.and_then(|name| name.parse().ok());
                    return Some(Ok(Entry { inode, number }));
                }
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => {
                    self.close();
                    return None;
                }
                Err(error) => {
                    self.close();
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.close();
    }
}

/// The numbers among the names in a directory of /proc: of processes, threads or descriptors. The
/// list ends at an error.
pub(crate) fn numbers(path: impl AsRef<Path>) -> io::Result<impl Iterator<Item = u32>> {
    let entries = Directory::open(path)?;
    Ok(entries.flatten().filter_map(|entry| entry.number))
}

fn open_at(path: &Path, position: u64) -> io::Result<RawFd> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY);
    let mut directory = options.open(path)?;
    if position != 0 {
        directory.seek(SeekFrom::Start(position))?;
    }
    Ok(directory.into_raw_fd())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::fd::{FromRawFd, OwnedFd};

    use holdlock_test_support::Scratch;

    use super::*;

    /// More entries than one call returns.
    const MANY: u32 = 3000;

    fn numbered() -> Scratch {
        let scratch = Scratch::new();
        for number in 0..MANY {
            std::fs::write(scratch.path(&number.to_string()), "").expect("written");
        }
        scratch
    }

    #[test]
    fn each_name_is_listed_once_with_its_inode() {
        use std::os::unix::fs::DirEntryExt;
        let scratch = numbered();
        let std = std::fs::read_dir(scratch.directory())
            .expect("readable")
            .flatten();
        let mut theirs: Vec<u64> = std.map(|entry| entry.ino()).collect();
        let entries = Directory::open(scratch.directory());
        let entries = entries.expect("readable").flatten();
        let (mut ours, numbers): (Vec<u64>, BTreeSet<Option<u32>>) =
            entries.map(|entry| (entry.inode, entry.number)).unzip();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, theirs);
        assert_eq!(numbers, (0..MANY).map(Some).collect());
    }

    #[test]
    fn a_listing_whose_number_became_another_files_goes_on_and_does_not_close_it() {
        let scratch = numbered();
        let mut entries = Directory::open(scratch.directory()).expect("readable");
        let first = entries.next().expect("one").expect("readable").number;
        let number = entries.fd.expect("open");
        let other = std::fs::File::open("/dev/null").expect("opens");
        // SAFETY: takes no pointers. `entries` is the number's only owner, and notices it.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
        let rest = entries
            .by_ref()
            .map(|entry| entry.expect("readable").number);
        let rest: Vec<Option<u32>> = rest.collect();
        assert_eq!(rest.len() + 1, MANY as usize);
        let all: BTreeSet<Option<u32>> = rest.into_iter().chain([first]).collect();
        assert_eq!(all, (0..MANY).map(Some).collect());
        drop(entries);
        // SAFETY: `entries` has left the number open, and nothing else owns it.
        let left = unsafe { OwnedFd::from_raw_fd(number) };
        assert!(std::fs::File::from(left).metadata().is_ok());
    }

    #[test]
    fn a_listing_that_is_closed_too_often_ends_with_an_error_and_closes_no_others_file() {
        let mut entries = Directory::open("/proc/self/fd").expect("readable");
        entries.reopenings = MAX_REOPENINGS;
        let number = entries.fd.expect("open");
        let other = std::fs::File::open("/dev/null").expect("opens");
        // SAFETY: as above.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
        assert!(entries.next().expect("an error").is_err());
        assert!(entries.next().is_none());
        // SAFETY: as above.
        let left = unsafe { OwnedFd::from_raw_fd(number) };
        assert!(std::fs::File::from(left).metadata().is_ok());
    }
}
