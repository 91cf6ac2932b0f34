//! Event descriptors: to wake a thread that waits in poll(2), and to tell programs that use it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::Wake;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::io::unix::AsyncFd;

use super::sentinel::{self, OwnFd};

/// Lets a task of the helper thread wait for a descriptor.
pub(crate) fn watch(descriptor: OwnFd) -> io::Result<AsyncFd<OwnFd>> {
    // SAFETY: the descriptor is owned by the result, which has to be dropped to close it, and an
    // OwnFd always names the same file.
    let watched = unsafe { AsyncFd::register(descriptor) };
    watched.map_err(|error| error.into_parts().1)
}

/// An eventfd(2).
pub(crate) struct Event(OwnFd);

impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Event(eventfd(0, flags)?.into()))
    }

    pub(crate) fn set(&self) {
        if sentinel::is_gone() {
            return;
        }
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

impl From<Event> for OwnFd {
    fn from(event: Event) -> OwnFd {
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
