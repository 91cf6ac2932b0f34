//! Holding on to a file without having it open for reading or writing: O_PATH of open(2).

use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use super::file;
use super::identity::{self, Identity};

/// A file that is pinned: kept, but not open for reading or writing. Closes its descriptor when
/// dropped, unless other code has closed the descriptor and the number is another file's.
#[derive(Debug)]
pub(crate) struct Pin {
    file: ManuallyDrop<File>,
    pub(crate) identity: Identity,
}

impl Pin {
    /// Pins the file of an open descriptor. Needs /proc.
    pub(crate) fn of_open(fd: BorrowedFd<'_>) -> io::Result<Pin> {
        let file = file::pin(&file::descriptor_path(fd), true)?;
        Ok(Pin {
            identity: identity::of(file.as_fd())?,
            file: ManuallyDrop::new(file),
        })
    }

    fn is_ours(&self) -> bool {
        let number = self.file.as_raw_fd();
        // SAFETY: fcntl with this command takes no pointers, and fails with EBADF for a number that
        // is not open.
        let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
        flags != -1
            && flags & libc::O_PATH != 0
            && identity::of_number(number) == Some(self.identity)
    }
}

impl AsFd for Pin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: the file is not used after this.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}
