//! Ending a wait from elsewhere.

use std::fmt;
use std::sync::Arc;

use crate::sys::{bell::Bell, fork};

/// Ends waits for locks from another thread or from a signal handler.
///
/// A token is a flag that can only be set. Give clones of one token to as many
/// requests as should end together; after [`cancel`](CancelToken::cancel) every
/// wait with it, present or future, ends with [`Error::Cancelled`](crate::Error::Cancelled).
/// A request that needs no wait succeeds all the same.
///
/// ```
/// use holdlock::{CancelToken, Error, FileLock, Request};
/// # let dir = std::env::temp_dir().join(format!("holdlock-doc-cancel-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// # let path = dir.join("a.lock");
/// let ours = FileLock::open(&path)?;
/// let _held = ours.lock()?;
///
/// let token = CancelToken::new();
/// std::thread::scope(|scope| {
///     let waiter = scope.spawn(|| {
///         let lock = FileLock::open(&path)?;
///         lock.acquire(Request::exclusive().cancel(&token)).map(drop)
///     });
///     token.cancel();
///     assert!(matches!(waiter.join().unwrap(), Err(Error::Cancelled { .. })));
/// });
/// # std::fs::remove_dir_all(&dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CancelToken {
    bell: Arc<Bell>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> CancelToken {
        // Now, because the first call is not allowed in a signal handler.
        fork::generation();
        CancelToken {
            bell: Arc::default(),
        }
    }

    /// Ends the waits that use this token. Never blocks.
    ///
    /// May be called from a signal handler, also one that was installed with
    /// SA_RESTART: it takes no lock, allocates nothing and keeps errno.
    pub fn cancel(&self) {
        self.bell.ring();
    }

    /// Whether [`cancel`](CancelToken::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.bell.rung()
    }

    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }
}

impl Default for CancelToken {
    fn default() -> CancelToken {
        CancelToken::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}
