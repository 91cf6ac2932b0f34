//! Tokens that end waits from another thread or from a signal handler.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::sys::fork;
use crate::sys::notify::{Notifier, Registration};

/// Ends waits for locks from another thread or from a signal handler.
///
/// A token is a flag that can only be set. Give one token to all requests that should end together:
/// after [`cancel`](CancelToken::cancel) every wait with it, present or future, ends with
/// [`Error::Cancelled`](crate::Error::Cancelled). A request that does not have to wait still
/// succeeds. Clones are the same token.
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
    notifier: Arc<Notifier>,
}

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> CancelToken {
        // Now, because the first call is not allowed in a signal handler.
        fork::generation();
        CancelToken {
            notifier: Arc::default(),
        }
    }

    /// Ends the waits that use this token. Never blocks.
    ///
    /// A signal handler may call this, also one that was installed with SA_RESTART: it takes no
    /// mutex, allocates nothing and keeps errno.
    pub fn cancel(&self) {
        self.notifier.set();
    }

    /// Whether [`cancel`](CancelToken::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.notifier.is_set()
    }

    /// Lets [`cancel`](CancelToken::cancel) write to a descriptor, for programs that wait by
    /// poll(2): 8 bytes, the number 1, as eventfd(2) and pipes take them. This lasts until the
    /// result is dropped. A token that is cancelled already writes at once.
    ///
    /// Each call of `cancel` writes, unless the write would block (a full pipe already has data to
    /// read) or fail (a pipe without a reader). In a child of fork `cancel` does not write to
    /// descriptors that the parent registered.
    ///
    /// ```
    /// use holdlock::CancelToken;
    /// use std::io::Read;
    ///
    /// let token = CancelToken::new();
    /// let (mut reader, writer) = std::io::pipe()?;
    /// let _notice = token.write_to(writer.into());
    /// token.cancel();
    /// let mut written = [0; 8];
    /// reader.read_exact(&mut written)?; // or poll(2), beside other descriptors
    /// assert_eq!(u64::from_ne_bytes(written), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write_to(&self, descriptor: OwnedFd) -> CancelNotice<'_> {
        CancelNotice {
            _registration: self.notifier.register_descriptor(descriptor.as_fd()),
            _descriptor: Some(descriptor),
        }
    }

    /// Cancels `other`, too, while the result lives.
    pub(crate) fn forward_to<'t>(&'t self, other: &'t CancelToken) -> CancelNotice<'t> {
        CancelNotice {
            _registration: self.notifier.register_notifier(&other.notifier),
            _descriptor: None,
        }
    }

    pub(crate) fn notifier(&self) -> &Arc<Notifier> {
        &self.notifier
    }
}

/// A registration made by [`CancelToken::write_to`]: until it is dropped, cancelling the token
/// writes to the descriptor.
#[must_use = "nothing is written after it is dropped"]
pub struct CancelNotice<'t> {
    /// Ends before the descriptor is closed.
    _registration: Registration<'t>,
    /// Owned, so that no other file gets the number while it is registered, even if the notice is
    /// forgotten.
    _descriptor: Option<OwnedFd>,
}

impl fmt::Debug for CancelNotice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelNotice").finish_non_exhaustive()
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
