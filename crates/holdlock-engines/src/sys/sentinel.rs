//! Notices that the program has closed descriptors of this library.
//!
//! Programs close descriptors that they do not know (`os.closerange`, close_range(2)). What tokio
//! and the connections have open cannot be protected from that, and the helper thread never wakes
//! up again without its epoll. So that calls end all the same, each process has a pipe that nobody
//! uses: if its number is closed, or another file's, then those of the helper thread are, too. No
//! call wakes the helper thread then, since that would write to the other file.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use super::closed_in_child::{Identity, identity};
use super::fork::PerProcess;

/// Why nothing works any more.
pub(crate) const GONE: &str = "the program has closed descriptors that it did not open, and cannot \
                               use locks between hosts any more; let it fork or start anew before \
                               it closes descriptors";

static PIPE: PerProcess<Pipe> = PerProcess::new();

struct Pipe {
    end: OwnedFd,
    identity: Option<Identity>,
}

/// From now on a loss of descriptors is noticed.
pub(crate) fn set() -> io::Result<()> {
    if PIPE.get().is_none() {
        let end = OwnedFd::from(io::pipe()?.0);
        let identity = identity(end.as_raw_fd());
        PIPE.set(Pipe { end, identity });
    }
    Ok(())
}

/// Whether the program has closed the descriptors of the helper thread.
pub(crate) fn is_gone() -> bool {
    let pipe = PIPE.get();
    pipe.is_some_and(|pipe| identity(pipe.end.as_raw_fd()) != pipe.identity)
}

/// A descriptor that is not closed when its number is no longer ours.
pub(crate) struct OwnFd(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for OwnFd {
    fn from(descriptor: OwnedFd) -> OwnFd {
        OwnFd(ManuallyDrop::new(descriptor))
    }
}

impl AsFd for OwnFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for OwnFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Drop for OwnFd {
    fn drop(&mut self) {
        if !is_gone() {
            // SAFETY: dropped only here.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}
