//! Finds waits of this process that can never end.
//!
//! * `watcher`: a helper thread that looks at long waits.
//! * `cycle`: looks for a cycle, with what this process knows of its own threads.
//!
//! `inspect` finds out about other processes from /proc.

mod cycle;
pub(crate) mod watcher;
