//! A file that is no lock file, and that the library has open for some milliseconds: /proc/locks.
//!
//! Other code of the process may close the descriptor meanwhile and get its number for a file of
//! its own. That can also happen while no thread of the program acquires or waits: a helper thread
//! may still read the file when the wait that it looks at has ended. Therefore the descriptor is
//! checked before each use and before it is closed: by the inode, and by the mark of lock files,
//! with which other code does not open files.
//!
//! Other files of /proc are open for microseconds, and are so many that the check would cost too
//! much.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, IntoRawFd};
use std::path::Path;

use super::descriptor_table::{MARK, disown};
use super::file::{self, Access};
use super::identity::{self, Identity};
use super::lock_fd::Opening;

/// A file that is open for reading. Its number is neither used nor closed if it has become another
/// file's.
pub(crate) struct CheckedFile {
    file: Option<File>,
    identity: Identity,
    /// Children of fork look for the file by its mark.
    _opening: Opening,
}

impl CheckedFile {
    pub(crate) fn open(path: &Path) -> io::Result<CheckedFile> {
        CheckedFile::open_by(|| file::open(path, Access::Read, true))
    }

    fn open_by(open: impl FnOnce() -> io::Result<File>) -> io::Result<CheckedFile> {
        // The file has the mark of lock files: a lock file whose number it gets has to notice that
        // the file is another one.
        let opening = Opening::begin();
        let file = open()?;
        disown(file.as_fd());
        let identity = identity::of(file.as_fd())?;
        Ok(CheckedFile {
            file: Some(file),
            identity,
            _opening: opening,
        })
    }

    /// The open file. Fails if other code has closed it.
    pub(crate) fn get(&mut self) -> io::Result<&mut File> {
        let is_ours = self.is_ours();
        let file = self.file.as_mut().filter(|_| is_ours);
        file.ok_or_else(|| io::Error::other("other code in this process has closed the file"))
    }

    fn is_ours(&self) -> bool {
        self.file.as_ref().is_some_and(|file| {
            let flags = file::lasting_flags(file.as_fd());
            flags != -1
                && flags & MARK != 0
                && identity::of(file.as_fd()).is_ok_and(|now| now == self.identity)
        })
    }
}

impl Drop for CheckedFile {
    fn drop(&mut self) {
        let is_ours = self.is_ours();
        if let Some(file) = self.file.take()
            && !is_ours
        {
            let _ = file.into_raw_fd();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::super::lock_fd::LockFd;
    use super::*;

    #[test]
    fn a_number_that_became_another_files_is_neither_used_nor_closed() {
        let mut file = CheckedFile::open(Path::new("/proc/locks")).expect("opens");
        let number = file.get().expect("ours").as_raw_fd();
        let other = File::open("/dev/null").expect("opens");
        // SAFETY: takes no pointers. `file` is the number's only owner, and notices it.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
        file.get().expect_err("another file's");
        drop(file);
        // SAFETY: `file` has left the number open, and nothing else owns it.
        let left = unsafe { OwnedFd::from_raw_fd(number) };
        let inode = |fd| identity::of(fd).expect("open");
        assert_eq!(inode(left.as_fd()), inode(other.as_fd()));
    }

    #[test]
    fn a_lock_file_whose_number_it_gets_notices_that() {
        let open = || file::open(Path::new("/proc/locks"), Access::Read, true);
        let closed = LockFd::open(open).expect("opens");
        assert!(closed.is_ours());
        let mut was_ours = None;
        let opened = CheckedFile::open_by(|| {
            let number = closed.as_fd().as_raw_fd();
            // SAFETY: takes no pointers. The result is the number's owner from now on, as `closed`
            // has to notice.
            let opened = unsafe {
                libc::dup3(open()?.as_raw_fd(), number, libc::O_CLOEXEC);
                File::from_raw_fd(number)
            };
            was_ours = Some(closed.is_ours());
            Ok(opened)
        });
        assert_eq!(was_ours, Some(false));
        assert!(!closed.is_ours());
        drop(closed);
        opened.expect("opens").get().expect("open");
    }
}
