//! Finds waits of this process that can never end.
//!
//! * `watcher`: a helper thread that looks at long waits.
//! * `wait_facts`: what is known of such a wait.
//! * `cycle`: looks for a cycle, with what this process knows of its own threads.
//!
//! `inspect` finds out about other processes from /proc.

mod cycle;
mod wait_facts;
pub(crate) mod watcher;
