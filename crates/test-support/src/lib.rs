//! What the tests and measurements of holdlock have in common.
//!
//! Tests use real processes and wait for events, never for time to pass. [`LineProcess`] is a
//! process that answers lines, [`queue`] sees which processes sleep in the kernel's queue,
//! [`eventually`] waits for an event, and [`watchdog`] ends a test that hangs. [`garbled`] makes
//! broken inputs for parsers, [`servers`] starts servers of the engines, [`between`] and [`proxy`]
//! stand between a client and a server, and [`network`] cuts a host off.

mod between;
mod eventually;
mod garble;
mod line_process;
pub mod network;
pub mod peers;
pub mod proxy;
pub mod queue;
mod scratch;
pub mod servers;
pub mod shared;
pub mod signal;
mod skip;
pub mod watchdog;

pub use between::between;
pub use eventually::{DEADLINE, eventually, wait_for};
pub use garble::garbled;
pub use line_process::LineProcess;
pub use scratch::Scratch;
pub use skip::{can_trace, has, in_container, skipped};
