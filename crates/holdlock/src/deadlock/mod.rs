//! Waits that can never end: who looks for them, and how they are told from others.
//!
//! * `watcher`: a helper thread that looks at waits which last.
//! * `cycle`: what it looks for, with what this process knows of its own threads.
//!
//! What /proc tells of other processes is in `inspect`.

mod cycle;
pub(crate) mod watcher;
