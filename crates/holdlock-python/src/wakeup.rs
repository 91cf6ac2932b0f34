//! Wakes an event loop from any thread, without the interpreter.
//!
//! The loop watches a pipe, which all waits of the loop share. A thread that writes to the pipe
//! needs neither the interpreter's lock nor a Python thread state, so it can do so even while the
//! interpreter is ending.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Wake;

use pyo3::prelude::*;

use crate::pipe_end::PipeEnd;
use crate::{error, fork};

/// The pipe, and the numbers of the waits that were woken.
pub(crate) struct Pipe {
    /// Not empty: there is one byte in the pipe.
    woken: Mutex<Vec<u64>>,
    reader: PipeEnd,
    writer: PipeEnd,
}

impl Pipe {
    /// A pipe whose two descriptors are not inherited.
    pub(crate) fn new() -> io::Result<Arc<Pipe>> {
        let (reader, writer) = io::pipe()?;
        Ok(Arc::new(Pipe {
            woken: Mutex::default(),
            reader: PipeEnd::new(reader),
            writer: PipeEnd::new(writer),
        }))
    }

    fn woken(&self) -> MutexGuard<'_, Vec<u64>> {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The descriptor that the loop watches.
    pub(crate) fn descriptor(&self) -> RawFd {
        self.reader.number()
    }

    /// The waits that were woken, from the first to the last.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.woken().clone()
    }

    /// Forgets so many of them. If none is left, the descriptor is no longer readable.
    pub(crate) fn forget(&self, count: usize) {
        let mut woken = self.woken();
        let count = count.min(woken.len());
        woken.drain(..count);
        if count > 0
            && woken.is_empty()
            && let Some(mut reader) = self.reader.get()
        {
            // The byte is there, so this does not block.
            let _ = reader.read(&mut [0]);
        }
    }

    fn wake(&self, number: u64) {
        let mut woken = self.woken();
        if woken.is_empty()
            && let Some(mut writer) = self.writer.get()
        {
            // The pipe is empty, so this does not block.
            let _ = writer.write(&[0]);
        }
        woken.push(number);
    }
}

/// Wakes one wait.
pub(crate) struct Wakeup {
    pipe: Arc<Pipe>,
    number: u64,
    sent: AtomicBool,
}

impl Wakeup {
    pub(crate) fn new(pipe: Arc<Pipe>, number: u64) -> Arc<Wakeup> {
        let sent = AtomicBool::new(false);
        Arc::new(Wakeup { pipe, number, sent })
    }

    /// Makes the descriptor readable, if this is the first call since [`rearm`](Wakeup::rearm).
    pub(crate) fn send(&self) {
        if !self.sent.swap(true, Ordering::AcqRel) {
            self.pipe.wake(self.number);
        }
    }

    /// The wait is about to look at its request: from now on there may be news again.
    pub(crate) fn rearm(&self) {
        self.sent.store(false, Ordering::Release);
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

/// The pipe of an event loop.
#[pyclass(frozen, module = "holdlock._native")]
pub(crate) struct Wakeups {
    /// None: it was closed.
    pipe: Mutex<Option<Arc<Pipe>>>,
    generation: u32,
}

impl Wakeups {
    pub(crate) fn pipe(&self) -> Option<Arc<Pipe>> {
        let pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        pipe.clone()
    }

    /// None in a child of fork: a thread of the parent may have the mutex locked for ever.
    fn own_pipe(&self) -> Option<Arc<Pipe>> {
        if self.generation != fork::generation() {
            return None;
        }
        self.pipe()
    }
}

#[pymethods]
impl Wakeups {
    /// If there is no descriptor left, the error names `lock_file`.
    #[new]
    fn new(lock_file: OsString) -> PyResult<Wakeups> {
        let pipe = Pipe::new().map_err(|source| error::io_error(&source, &lock_file))?;
        Ok(Wakeups {
            pipe: Mutex::new(Some(pipe)),
            generation: fork::generation(),
        })
    }

    /// The descriptor that becomes readable; -1 after `close`.
    fn fileno(&self) -> i32 {
        self.pipe().map_or(-1, |pipe| pipe.descriptor())
    }

    /// The numbers of the waits that were woken, until `forget`.
    fn woken(&self) -> Vec<u64> {
        let pipe = self.own_pipe();
        pipe.map_or_else(Vec::new, |pipe| pipe.numbers())
    }

    /// Forgets the first `count` of these numbers. If none is left, the descriptor is no longer
    /// readable.
    fn forget(&self, count: usize) {
        if let Some(pipe) = self.own_pipe() {
            pipe.forget(count);
        }
    }

    /// Closes the pipe when the last wait has stopped using it.
    fn close(&self) {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        drop(pipe.take());
    }
}
