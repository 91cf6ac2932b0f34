//! Event descriptors: to wake a thread that waits in poll(2), and to tell programs that use it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::Wake;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::io::unix::AsyncFd;

/// Lets a task of the helper thread wait for a descriptor, which is returned if that fails.
pub(crate) fn watch(descriptor: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    // SAFETY: the descriptor is owned by the result, which has to be dropped to close it, and an
    // OwnedFd always names the same file.
    unsafe { AsyncFd::register(descriptor) }.map_err(|error| error.into_parts())
}

/// An eventfd(2).
pub(crate) struct Event(OwnedFd);

impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Event(eventfd(0, flags)?))
    }

    pub(crate) fn set(&self) {
        // It fails only if 2^64 - 2 writes were not read, and then it is set.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8][..]);
    }

    /// Sleeps until the event is set, at most until `deadline`: whether it is set. Fails with
    /// `Interrupted` when a signal handler has run.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up: waking a little early would mean going round in circles.
            let left = left.saturating_add(Duration::from_micros(1));
            Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            }
        });
        let mut descriptors = [PollFd::new(&self.0, PollFlags::IN)];
        Ok(poll(&mut descriptors, left.as_ref())? > 0)
    }
}

impl From<Event> for OwnedFd {
    fn from(event: Event) -> OwnedFd {
        event.0
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Wake for Event {
    fn wake(self: std::sync::Arc<Event>) {
        self.set();
    }

    fn wake_by_ref(self: &std::sync::Arc<Event>) {
        self.set();
    }
}
