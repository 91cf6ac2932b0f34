//! The native part of the Python module `holdlock`.
//!
//! Native code does what has to be quick, and what has to wait without the interpreter's lock.
//! Python code checks the options first.
//!
//! | file | what it does |
//! |---|---|
//! | `lock.rs` | the class, as Python code sees it |
//! | `core.rs` | what one object consists of |
//! | `open.rs` | opens the lock file |
//! | `acquire.rs` | takes a thread's request from the first attempt to the held lock |
//! | `wait.rs` | the wait of a thread |
//! | `shared.rs` | one object as its threads share it: each step under the mutex |
//! | `state.rs`, `hold.rs` | the holds and waits of one object |
//! | `tasks.rs` | what asynchronous code asks of a lock |
//! | `waiter.rs`, `wakeup.rs` | the wait of a task, and how its loop is woken |
//! | `requester.rs`, `thread.rs` | the thread or task that makes a request |
//! | `read_write.rs` | the `with` statement of a read/write lock |
//! | `marker.rs` | the marker file of a soft lock |
//! | `fork.rs` | what a child of fork knows |
//! | `cancel.rs`, `proxy.rs`, `process.rs` | the small classes |
//! | `error.rs` | the Python exception for each failure |
//! | `log.rs` | the debug log |

#![forbid(unsafe_code)]

mod acquire;
mod cancel;
mod core;
mod error;
mod fork;
mod hold;
mod lock;
mod log;
mod marker;
mod open;
mod process;
mod proxy;
mod read_write;
mod requester;
mod shared;
mod state;
mod tasks;
mod thread;
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
    use crate::cancel::CancelToken;
    #[pymodule_export]
    use crate::error::{Conflict, printable};
    #[pymodule_export]
    use crate::lock::NativeLock;
    #[pymodule_export]
    use crate::log::log_as_filelock;
    #[pymodule_export]
    use crate::marker::{Marker, keep_markers, publish_marker};
    #[pymodule_export]
    use crate::process::Process;
    #[pymodule_export]
    use crate::proxy::AcquireReturnProxy;
    #[pymodule_export]
    use crate::read_write::{ReadWriteScope, acquire_until_closed};
    #[pymodule_export]
    use crate::requester::Task;
    #[pymodule_export]
    use crate::tasks::{
        counter, hand_over, held, lend, queue, release, release_all, try_acquire, was_taken_by,
    };
    #[pymodule_export]
    use crate::waiter::Waiter;
    #[pymodule_export]
    use crate::wakeup::Wakeups;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::fork::notice_forks(module.py())
    }
}
