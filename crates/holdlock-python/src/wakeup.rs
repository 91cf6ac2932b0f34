//! Wakes an event loop from any thread, without the interpreter.
//!
//! The loop watches a pipe. A thread that writes to the pipe needs neither the interpreter's lock
//! nor a Python thread state, so it can do so even while the interpreter is ending.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// Wakes the loop.
pub(crate) struct Wakeup {
    sent: AtomicBool,
    writer: PipeWriter,
}

/// The descriptor that the loop watches.
pub(crate) struct Watched {
    reader: PipeReader,
}

/// A pipe whose two descriptors are not inherited.
pub(crate) fn pair() -> io::Result<(Arc<Wakeup>, Watched)> {
    let (reader, writer) = io::pipe()?;
    let sent = AtomicBool::new(false);
    Ok((Arc::new(Wakeup { sent, writer }), Watched { reader }))
}

impl Wakeup {
    /// Makes the descriptor readable. Never blocks: the pipe has at most one byte in it.
    pub(crate) fn send(&self) {
        if !self.sent.swap(true, Ordering::AcqRel) {
            // The write can fail only if the other end is closed.
            let _ = (&self.writer).write(&[0]);
        }
    }
}

impl Wake for Wakeup {
    fn wake(self: Arc<Self>) {
        self.send();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.send();
    }
}

impl Watched {
    /// The descriptor.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Makes the descriptor unreadable again, until the next [`Wakeup::send`].
    pub(crate) fn reset(&self, wakeup: &Wakeup) {
        if wakeup.sent.load(Ordering::Acquire) {
            // A thread that has set the flag writes its byte now, if it has not yet.
            let _ = (&self.reader).read(&mut [0]);
            wakeup.sent.store(false, Ordering::Release);
        }
    }
}
