//! The native part of the Python module `holdlock`.
//!
//! What is here is what has to be quick, or has to wait without the interpreter's lock; options
//! are validated in Python, before they come here.
//!
//! | file | what is there |
//! |---|---|
//! | `lock.rs` | the class: its methods, as Python sees them |
//! | `state.rs` | what one object knows: who holds it, how often, in which thread |
//! | `wait.rs` | the way of a request that has to wait |
//! | `waiter.rs`, `bell.rs` | the wait of a task, and how its loop is woken |
//! | `asker.rs` | who asks: a thread, or a task |
//! | `thread.rs` | which thread this is, and whether it still lives |
//! | `fork.rs` | what a child of fork knows |
//! | `error.rs` | which Python exception stands for which error |

#![forbid(unsafe_code)]

mod asker;
mod bell;
mod cancel;
mod error;
mod fork;
mod lock;
mod log;
mod process;
mod proxy;
mod state;
mod thread;
mod wait;
mod waiter;

use pyo3::prelude::*;

/// Every piece of shared state is behind a mutex, so the interpreter's lock is not needed.
#[pymodule(gil_used = false)]
#[pyo3(name = "_native")]
mod native {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::asker::Task;
    #[pymodule_export]
    use crate::cancel::CancelToken;
    #[pymodule_export]
    use crate::error::{Conflict, printable};
    #[pymodule_export]
    use crate::lock::NativeLock;
    #[pymodule_export]
    use crate::process::Process;
    #[pymodule_export]
    use crate::proxy::AcquireReturnProxy;
    #[pymodule_export]
    use crate::waiter::Waiter;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        crate::fork::notice_forks(module.py())
    }
}
