//! The waiting requests of the graph, and what excludes them.

use std::path::PathBuf;

use crate::Mode;
use crate::bytes::Range;
use crate::inspect::proc::file_id::FileId;
use crate::inspect::proc::process::Process;
use crate::inspect::proc::table::Kind;
use crate::inspect::snapshot::{Lock, LockedFile, Waiter};

/// A request that waits, with what the graph needs to know of it.
pub(super) struct WaitingRequest<'s> {
    pub(super) process: &'s Process,
    pub(super) thread: Option<u32>,
    pub(super) file_id: FileId,
    pub(super) path: Option<&'s PathBuf>,
    pub(super) kind: Kind,
    pub(super) mode: Mode,
    pub(super) range: Range,
    pub(super) descriptor: Option<u32>,
    pub(super) locks: &'s [Lock],
    /// If the thread waits for other threads at the gate: the requests of the threads that must
    /// leave first.
    pub(super) at_gate: Option<&'s [usize]>,
    /// The ancestors that wait for the end of the process.
    pub(super) ancestors: Vec<u32>,
}

impl<'s> WaitingRequest<'s> {
    pub(super) fn of_other(
        file: &'s LockedFile,
        request: &'s Waiter,
        process: &'s Process,
        ancestors: Vec<u32>,
    ) -> WaitingRequest<'s> {
        WaitingRequest {
            process,
            thread: None,
            file_id: file.file_id,
            path: file.path.as_ref(),
            kind: request.kind,
            mode: request.mode,
            range: request.range,
            descriptor: request.descriptor,
            locks: &file.locks,
            at_gate: None,
            ancestors,
        }
    }

    /// Whether the lock makes this request wait.
    pub(super) fn is_excluded_by(&self, lock: &Lock) -> bool {
        let shared = lock.mode == Mode::Shared && self.mode == Mode::Shared;
        // A process does not wait for its own POSIX lock, nor an open file for its own flock or OFD
        // lock.
        let own = lock.holders.iter().any(|holder| {
            holder.process.pid == self.process.pid
                && (lock.kind == Kind::Posix && self.kind == Kind::Posix
                    || self.descriptor.is_some() && holder.descriptor == self.descriptor)
        });
        lock.kind.meets(self.kind) && lock.range.overlaps(self.range) && !shared && !own
    }
}
