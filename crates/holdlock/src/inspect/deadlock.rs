//! Deadlocks: processes that wait for one another in a cycle.
//!
//! `graph` finds the cycles. A cycle is certain if no process in it has a way out. A way out is
//! another thread, a time limit, a process that has inherited a lock and may release it, or a
//! parent that may be waiting for another child. A cycle in which a process may have a way out is
//! only possible. Requests of one process for its own locks are a cycle only if all its threads
//! wait: otherwise they are a normal queue behind another thread.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use super::printable::{PATH_LENGTH, printable};
use super::proc::file_id::FileId;
use super::proc::process::Process;
use super::proc::table::Kind;
use crate::Mode;

/// Processes that wait for one another in a cycle: each of them needs another one to continue
/// first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Deadlock {
    /// The waits of the cycle. Each waiter waits for the waiter of the next step, and the last one
    /// for the first.
    pub steps: Vec<Step>,
    /// False if one of the processes may have a way out: another thread, a time limit, a process
    /// that has inherited its lock, or another child for which it waits.
    pub certain: bool,
}

/// One wait in a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Step {
    /// The waiting thread, if it belongs to this process and is known.
    pub thread: Option<u32>,
    /// The waiting process.
    pub waiter: Process,
    /// The file on which the waiter requests a lock.
    pub file_id: FileId,
    /// The path of that file, if it is known.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::inspect::serialize::path")
    )]
    pub path: Option<PathBuf>,
    /// The kind of the requested lock.
    pub kind: Kind,
    /// The mode of the requested lock.
    pub mode: Mode,
    /// The process that holds the lock in the way: the next waiter, or a process that waits for the
    /// end of the next waiter.
    pub holder: Process,
}

/// The waits of this process. The library knows more about them than /proc shows.
pub(crate) struct Ours {
    pub(crate) process: Process,
    /// Whether one thread does everything that the process does.
    pub(crate) alone: bool,
    /// The waits that only the lock ends, at most one for each thread.
    pub(crate) waits: Vec<OurWait>,
    /// By descriptor: the waits of the threads that hold its lock by a guard which cannot leave its
    /// thread.
    pub(crate) keeps: HashMap<u32, Vec<usize>>,
}

/// A wait of a thread of this process.
pub(crate) struct OurWait {
    pub(crate) thread: u32,
    pub(crate) file_id: FileId,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) descriptor: Option<u32>,
    /// If the thread waits for other threads at the gate: the waits of the threads that must leave
    /// first.
    pub(crate) at_gate: Option<Vec<usize>>,
}

/// `pid 3 (make) waits for b.lock, held by pid 4 (make), which waits for a.lock, held by pid 3`
impl fmt::Display for Deadlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            if let Some(thread) = step.thread {
                let then = if number == 0 {
                    ""
                } else {
                    ", which waits for "
                };
                write!(f, "{then}thread {thread} of {}", step.waiter)?;
            } else if number == 0 {
                write!(f, "{}", step.waiter)?;
            } else {
                let before = &self.steps[number - 1].holder;
                if before.pid != step.waiter.pid {
                    write!(f, ", which waits for the end of {}", step.waiter)?;
                }
                f.write_str(", which")?;
            }
            f.write_str(" waits for ")?;
            match &step.path {
                Some(path) => write!(f, "{:.PATH_LENGTH$}", printable(path))?,
                None => write!(f, "the file {}", step.file_id)?,
            }
            f.write_str(", held by ")?;
            if number + 1 == self.steps.len() && step.holder.pid == self.steps[0].waiter.pid {
                write!(f, "pid {}", step.holder.pid)?;
            } else {
                write!(f, "{}", step.holder)?;
            }
        }
        if let (Some(first), Some(last)) = (self.steps.first(), self.steps.last())
            && last.holder.pid != first.waiter.pid
        {
            write!(f, ", which waits for the end of pid {}", first.waiter.pid)?;
        }
        Ok(())
    }
}
