//! Waking an event loop from any thread, without the interpreter.
//!
//! The loop watches a descriptor. A thread that wakes it needs no interpreter's lock for that, and
//! is none of Python's: it does not matter to it whether the interpreter is just ending.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;

/// The end that is rung.
pub(crate) struct Bell {
    rung: AtomicBool,
    writer: PipeWriter,
}

/// The end that is watched.
pub(crate) struct Ear {
    reader: PipeReader,
}

/// A bell, and the ear that hears it: two descriptors, which are not inherited.
pub(crate) fn bell() -> io::Result<(Arc<Bell>, Ear)> {
    let (reader, writer) = io::pipe()?;
    let rung = AtomicBool::new(false);
    Ok((Arc::new(Bell { rung, writer }), Ear { reader }))
}

impl Bell {
    /// Makes the descriptor readable. Never blocks: there is at most one byte in the pipe.
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // It can only fail when nobody listens any more.
            let _ = (&self.writer).write(&[0]);
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

impl Ear {
    /// What the loop watches.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Makes the descriptor unreadable again. What happens from now on rings anew.
    pub(crate) fn hear(&self, bell: &Bell) {
        if bell.rung.load(Ordering::Acquire) {
            // Who has set the flag is about to write, if it has not yet.
            let _ = (&self.reader).read(&mut [0]);
            bell.rung.store(false, Ordering::Release);
        }
    }
}
