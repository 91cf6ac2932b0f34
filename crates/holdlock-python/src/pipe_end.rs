//! One end of a pipe. Other code may close its number, and get it for a file of its own, which is
//! then neither read, written nor closed.

use std::fs::File;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

pub(crate) struct PipeEnd {
    /// None only while it is dropped.
    end: Option<File>,
    /// Of the pipe.
    inode: Option<(u64, u64)>,
}

impl PipeEnd {
    pub(crate) fn new(end: impl Into<OwnedFd>) -> PipeEnd {
        let end = File::from(end.into());
        PipeEnd {
            inode: inode(&end),
            end: Some(end),
        }
    }

    /// The number, whosesoever it is by now.
    pub(crate) fn number(&self) -> RawFd {
        self.end.as_ref().map_or(-1, AsRawFd::as_raw_fd)
    }

    /// None: other code has closed it.
    pub(crate) fn get(&self) -> Option<&File> {
        let is_ours = |end: &&File| self.inode.is_some() && inode(end) == self.inode;
        self.end.as_ref().filter(is_ours)
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        if self.get().is_none()
            && let Some(end) = self.end.take()
        {
            let _ = end.into_raw_fd();
        }
    }
}

fn inode(file: &File) -> Option<(u64, u64)> {
    let file = file.metadata().ok()?;
    Some((file.dev(), file.ino()))
}
