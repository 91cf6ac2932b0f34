//! The locks of [`holdlock`] between hosts: the same verbs, over an engine that exists already.
//!
//! [`open`] takes a URL that names the engine and, behind `#`, the lock. The lock has the verbs of
//! [`holdlock::FileLock`]; its guard knows more, because such a lock can be lost.
//!
//! ```no_run
//! use holdlock_engines::{Error, open};
//! use std::time::Duration;
//!
//! let lock = open("postgres://db.example/app#nightly")?;
//! match lock.try_lock_for(Duration::from_secs(30)) {
//!     Ok(guard) => {
//!         # let steps: [fn(Option<u64>); 0] = [];
//!         for step in steps {
//!             guard.check()?; // or is_valid(), which asks only the clock
//!             step(guard.token());
//!         }
//!         guard.release()?; // fails if the lock was not ours to the end
//!     }
//!     // `postgres://db.example/app#nightly: timed out after 30 s waiting for the exclusive lock;
//!     // held by pid 4711 (nightly.sh) of ann on host3`
//!     Err(error @ Error::TimedOut(_)) => eprintln!("{error}"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The model
//!
//! | word | meaning |
//! |---|---|
//! | engine | the server that keeps the lock: PostgreSQL, etcd, Redis or Valkey |
//! | [`EngineLock`] | the engine and the lock's name; opening it does not connect |
//! | [`EngineGuard`] | proof of holding the lock, until its [`deadline`](EngineGuard::deadline), which moves on while the engine answers |
//! | token | [`EngineGuard::token`]: a number that rises from holder to holder |
//! | [`LostSignal`] | tells at once when a lock is lost |
//! | [`Member`] | a holder or a waiter, of whatever host |
//!
//! A guard is valid until its deadline. The deadline is a little before the moment at which the
//! engine would free the lock of a host that it does not hear, so at most one holder believes in
//! its lock. No lock can prevent that a process is stopped after it has checked the clock and
//! before it acts: use the token for that case.
//!
//! # PostgreSQL
//!
//! `postgres://user@host:port,host2/database?option=value#name`. What the URL leaves out comes from
//! the places of libpq: PGHOST, PGUSER and their relatives, the service file, the password file.
//!
//! | option | meaning |
//! |---|---|
//! | `ttl` | after how many seconds without contact the server frees the lock (10); the same in each process |
//! | `slots` | how many may hold the lock at the same time, one slot each; the same in each process |
//! | `key` | `key=N` or `key=A,B`: the advisory lock with this number, to exclude programs that use it |
//! | `pooler` | `pooler=session`: the address is a pooler that gives each client a session of its own |
//! | `sslmode`, `ca`, `cert`, `key_file` | TLS: `disable`, `prefer`, `require`, `verify-ca`, `verify-full`; PEM files (also by libpq's names: `sslrootcert`, `sslcert`, `sslkey`) |
//! | `user`, `host`, `port`, `dbname`, `service`, `passfile`, `options`, `connect_timeout` | as in libpq |
//!
//! The lock is an advisory lock of the session: the server frees it when the connection ends, and
//! nothing has to be cleaned up. Waiters are served in their order. holdlock refuses poolers in
//! transaction mode and standbys, because they break such locks silently.
//!
//! # etcd
//!
//! `etcd://user@host:port,host2,host3/prefix?option=value#name`, and `etcds://` with TLS. What the
//! URL leaves out comes from the variables of etcdctl: ETCDCTL_ENDPOINTS, ETCDCTL_USER,
//! ETCDCTL_PASSWORD, ETCDCTL_CACERT, ETCDCTL_CERT, ETCDCTL_KEY. The prefix of the keys is
//! `holdlock` unless the path says another.
//!
//! | option | meaning |
//! |---|---|
//! | `ttl` | after how many seconds without a renewal the cluster frees the lock (15) |
//! | `slots` | how many may hold the lock at the same time, one slot each; the same in each process |
//! | `ca`, `cert`, `key_file` | PEM files: whom to trust in place of the system's authorities; the client's certificate and its key |
//! | `connect_timeout` | after how many seconds a silent endpoint counts as dead (5) |
//!
//! The lock is a queue of keys, each with a lease of its own; the oldest key holds the lock, and
//! its create revision is the token. A process that is killed keeps its key until the lease ends.
//! The calls go over the JSON gateway of etcd 3.4 or later.
//!
//! # Redis and Valkey
//!
//! `redis://user@host:port,host2/database?option=value#name`; `rediss://` with TLS, `valkey://` and
//! `valkeys://` for the same. The user's password comes from the file that HOLDLOCK_PASSWORD_FILE
//! names, or from REDISCLI_AUTH. A Unix socket is a host: `redis://%2Frun%2Fredis.sock/0#name`.
//!
//! | option | meaning |
//! |---|---|
//! | `ttl` | after how many seconds without a renewal the server frees the lock (15); the same in each process |
//! | `slots` | how many may hold the lock at the same time; the same in each process |
//! | `replicas` | how many replicas have to confirm each acquisition and each renewal (0) |
//! | `ca`, `cert`, `key_file` | PEM files: the authority to trust instead of the system's, and the client's certificate with its key |
//! | `connect_timeout` | how many seconds a connection may take (5) |
//!
//! This is an efficiency lock: Redis acknowledges what it may forget. holdlock gives no lock for a
//! `ttl` after a restart or a failover, so that old holders can notice; an old primary that is cut
//! off from the others can still give the lock to a second holder. The token protects there.
//!
//! # What is used
//!
//! * One helper thread for each process, and one connection for each lock that is held or waited
//!   for; two at etcd, where the second one watches. Sockets are close-on-exec, and are closed in
//!   children of fork.
//! * Three descriptors for each lock that is held, besides the connection's.
//!
//! Linux only, for now.

mod client;
mod duration;
mod engine;
mod error;
mod etcd;
mod finding;
mod future;
mod guard;
mod history;
mod keeper;
mod lock;
mod lost;
mod member;
mod postgres;
mod process;
mod race;
mod redis;
mod secret;
mod server;
mod socket;
mod stream;
mod sys;
mod tls;
mod url;

pub use error::{Conflict, Error};
pub use finding::{Finding, Level};
pub use future::EngineFuture;
pub use guard::EngineGuard;
pub use history::{Counted, History, Run};
pub use lock::EngineLock;
pub use lost::{Loss, LostFuture, LostSignal};
pub use member::{Member, Members};
pub use server::{EngineServer, Listed};
pub use sys::clock::BootTime;

/// Opens the lock that a URL names. Neither connects nor looks up addresses.
///
/// # Errors
///
/// [`Error::Url`] when the URL or one of its options is not understood, or when a file that it
/// names cannot be read. No message shows the URL's password.
pub fn open(url: &str) -> Result<EngineLock, Error> {
    EngineLock::open(url)
}

/// Opens the place of many locks: a URL whose `#name` is missing or does not matter. Neither
/// connects nor looks up addresses.
///
/// # Errors
///
/// As [`open`].
pub fn open_server(url: &str) -> Result<EngineServer, Error> {
    EngineServer::open(url)
}
