//! The native part of the Python module `holdlock`.
//!
//! Native code does what has to be quick, and what has to wait without the interpreter's lock.
//! Python code checks the options first.
//!
//! | file | what it does |
//! |---|---|
//! | `lock.rs` | the class, as Python code sees it |
//! | `core.rs` | the parts of one object |
//! | `open.rs` | opens the lock file |
//! | `acquire.rs` | takes a thread's request from the first attempt to the held lock |
//! | `wait.rs` | the wait of a thread |
//! | `shared.rs` | one object as its threads share it: each step under the mutex |
//! | `state.rs`, `hold.rs` | the holds and waits of one object |
//! | `tasks.rs` | the functions for asynchronous code |
//! | `acquisition.rs` | one acquisition of a task, which can be undone after an exception |
//! | `waiter.rs`, `signal.rs`, `wakeup.rs` | the wait of a task, and how its loop is woken |
//! | `requester.rs`, `thread.rs` | the thread or task that makes a request |
//! | `read_write.rs` | the `with` statement of a read/write lock |
//! | `semaphore.rs`, `slots.rs` | semaphores, and the slots that are held |
//! | `lock_set/` | several locks at once |
//! | `upgrade.rs` | a shared lock with the right to become exclusive |
//! | `record.rs`, `run.rs` | the record in a lock file, and the runs in it |
//! | `token_gate.rs` | the use of the tokens |
//! | `blocking.rs`, `pending.rs` | the waits for these, of a thread and of a task |
//! | `in_thread.rs` | such a wait of a task for which the library has no future |
//! | `unseen.rs` | what was acquired for a thread or task that has ended its wait |
//! | `engine/` | locks between hosts; only with the feature `engines` |
//! | `marker.rs` | the marker file of a soft lock |
//! | `fork.rs` | notices that this process is a child of fork |
//! | `cancel.rs`, `proxy.rs`, `process.rs` | the small classes |
//! | `error.rs` | the Python exception for each failure |
//! | `log.rs` | the debug log |

#![forbid(unsafe_code)]

mod acquire;
mod acquisition;
mod blocking;
mod cancel;
mod core;
#[cfg(feature = "engines")]
mod engine;
mod error;
mod fork;
mod hold;
mod in_thread;
mod lock;
mod lock_set;
mod log;
mod marker;
mod once;
mod open;
mod pending;
mod pipe_end;
mod process;
mod proxy;
mod read_write;
mod record;
mod requester;
mod run;
mod semaphore;
mod shared;
mod signal;
mod slots;
mod state;
mod tasks;
mod thread;
mod token_gate;
mod unseen;
mod upgrade;
mod wait;
mod waiter;
mod wakeup;

use pyo3::prelude::*;

/// All shared state is behind mutexes, so that the module does not need the interpreter's lock.
#[pymodule(gil_used = false)]
#[pyo3(name = "_native")]
mod native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::acquisition::Acquisition;
    #[pymodule_export]
    use crate::cancel::CancelToken;
    #[cfg(feature = "engines")]
    #[pymodule_export]
    use crate::engine::{NativeEngineLock, NativeLost};
    #[pymodule_export]
    use crate::error::{Conflict, printable};
    #[pymodule_export]
    use crate::lock::NativeLock;
    #[pymodule_export]
    use crate::lock_set::NativeLockSet;
    #[pymodule_export]
    use crate::log::log_as_filelock;
    #[pymodule_export]
    use crate::marker::{Marker, keep_markers, publish_marker};
    #[pymodule_export]
    use crate::pending::Pending;
    #[pymodule_export]
    use crate::process::Process;
    #[pymodule_export]
    use crate::proxy::AcquireReturnProxy;
    #[pymodule_export]
    use crate::read_write::{ReadWriteScope, acquire_until_closed};
    #[pymodule_export]
    use crate::record::{Record, abandoned_before, record, token_of};
    #[pymodule_export]
    use crate::requester::Task;
    #[pymodule_export]
    use crate::run::{Run, record_run};
    #[pymodule_export]
    use crate::semaphore::NativeSemaphore;
    #[pymodule_export]
    use crate::tasks::{
        counter, hand_over, held, lend, release, release_abandoned, release_all, undo, was_taken_by,
    };
    #[pymodule_export]
    use crate::token_gate::{Inside, TokenGate};
    #[pymodule_export]
    use crate::upgrade::{UpgradeableGuard, acquire_upgradeable, queue_upgradeable};
    #[pymodule_export]
    use crate::waiter::Waiter;
    #[pymodule_export]
    use crate::wakeup::Wakeups;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("max_slots", holdlock::Semaphore::MAX_SLOTS)?;
        crate::thread::local(module.py())?;
        crate::fork::notice_forks(module.py())
    }
}
