//! Redis and Valkey: a lock is a lease, kept by a script.
//!
//! The server frees the lock when its holder has not renewed it for the `ttl`, by the server's own
//! clock; the guard's deadline is a little earlier. The connection does not matter: a holder whose
//! connection ends renews the lock over another one.
//!
//! Redis forgets what it has acknowledged: when it is restarted without a log that is synced
//! always, and when a replica becomes the primary. Whoever finds that the server is another one
//! waits for a ttl, so that the holders of before can notice. This is an efficiency lock all the
//! same: an old primary that is cut off with its clients goes on giving locks.

mod client;
mod connect;
mod diagnose;
mod given_up;
mod link;
mod list;
mod members;
mod place;
mod script;
mod service;
mod session;
mod settings;

use std::fmt;

use self::settings::Settings;
use crate::Error;
use crate::tls::{Certificates, Check};
use crate::url::{Host, Url};

/// A lock in a database of Redis.
pub(crate) struct Redis {
    settings: Settings,
    /// None: nothing is encrypted, or all hosts are Unix sockets and the files cannot be read.
    certificates: Option<Certificates>,
}

impl Redis {
    pub(crate) fn new(url: &Url) -> Result<Redis, Error> {
        let settings = Settings::read(url)?;
        // A Unix socket is never encrypted, but a node of a cluster may name one that is.
        let may_need_none = settings.hosts.iter().all(Host::is_directory);
        let read = || match Certificates::read(&settings.tls) {
            Err(_) if may_need_none => Ok(None),
            read => read.map(Some),
        };
        Ok(Redis {
            certificates: match settings.tls.check {
                Check::NoTls => None,
                _ => read()?,
            },
            settings,
        })
    }

    pub(crate) fn shown(&self) -> &str {
        &self.settings.shown
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.settings.warnings
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Whether a renewal or another request may succeed where this one failed.
fn may_pass(error: &Error) -> bool {
    matches!(error, Error::Unreachable { .. })
}

impl Redis {
    /// A name that nobody else has.
    fn random(&self) -> Result<String, Error> {
        let mut random = [0_u8; 16];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(
            |error| Error::Failed {
                lock: self.shown().to_owned(),
                operation: "getting random numbers",
                why: error.to_string(),
            },
        )?;
        Ok(format!("{:032x}", u128::from_ne_bytes(random)))
    }

    fn wrong_answer(&self) -> Error {
        Error::Failed {
            lock: self.shown().to_owned(),
            operation: "reading the answer of the script",
            why: format!(
                "the server answered something else; see whether another program has written to \
                 the keys '{{holdlock:{}}}:*', and whether this is Redis or Valkey",
                holdlock::inspect::printable(&self.settings.name)
            ),
        }
    }
}
