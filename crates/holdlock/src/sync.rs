//! What the gate orders threads with. `crates/gate-model` compiles the gate's files with the types
//! of a model checker under the same names.

pub(crate) use std::hint::spin_loop;
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};
pub(crate) use std::thread::sleep;
pub(crate) use std::thread_local;

/// How often a woken thread checks whether the gate is open before it sleeps again.
pub(crate) const SPINS: u32 = 60;
