//! The engine of a run, where this program has engines.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use holdlock::{Mode as Sharing, Request};
use holdlock_engines::{EngineLock, Error};

use super::About;
use crate::engines::{ENGINE, failure, open_place, tell};
use crate::exit::Failure;
use crate::sys::name_service;
use crate::torture::mode::{Mode, SLOTS};

/// The time limit of the locks, in seconds, unless the URL has one: the least that all engines
/// take. Workers are killed and stopped for parts and multiples of it.
const TTL: u32 = 3;

/// A place for locks at an engine.
#[derive(Clone)]
pub(in crate::torture) struct Engine {
    /// Its URL, without a lock's name.
    url: String,
    /// The names of the locks begin so.
    prefix: String,
}

impl Engine {
    /// The one of this process's environment, for a worker whose run has this directory.
    pub(in crate::torture) fn inherited(directory: &Path) -> Option<Engine> {
        let url = std::env::var(ENGINE).ok()?;
        Some(Engine::new(url, directory))
    }

    fn new(url: String, directory: &Path) -> Engine {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        Engine {
            url,
            prefix: name.trim_start_matches('.').to_owned(),
        }
    }

    /// Opens what the user has named.
    pub(in crate::torture) fn named(url: &OsStr, directory: &Path) -> Result<Engine, Failure> {
        let place = open_place(url)?;
        tell(place.warnings());
        // It was understood, so it is text.
        let url = url.to_string_lossy();
        let url = url.split_once('#').map_or(&*url, |(place, _)| place);
        let mut url = url.to_owned();
        if !options(&url).any(|option| option.starts_with("ttl=")) {
            url = with(&url, &format!("ttl={TTL}"));
        }
        if options(&url).any(|option| option.starts_with("slots=") || option.starts_with("key=")) {
            return Err(Failure::usage(
                "`torture` uses locks of its own; leave `slots` and `key` out of the URL",
            ));
        }
        Ok(Engine::new(url, directory))
    }

    /// What workers and their commands find in their environment.
    pub(in crate::torture) fn variable(&self) -> (&'static str, &str) {
        (ENGINE, &self.url)
    }

    /// The name of the lock of a mode.
    pub(in crate::torture) fn lock_name(&self, mode: Mode) -> String {
        format!("{}-{}", self.prefix, mode.name())
    }

    pub(in crate::torture) fn open(&self, mode: Mode) -> Result<EngineLock, Error> {
        let url = match mode {
            Mode::Slots => with(&self.url, &format!("slots={SLOTS}")),
            _ => self.url.clone(),
        };
        name_service::without_libraries();
        let lock = holdlock_engines::open(&format!("{url}#{}", self.lock_name(mode)))?;
        Ok(lock.command("holdlock torture"))
    }

    /// Acquires and releases the lock of a mode. Waits, since an engine that was started a
    /// moment ago gives no locks yet. Returns what is shown of the engine, its kind and its
    /// time limit.
    pub(in crate::torture) fn try_once(&self, mode: Mode) -> Result<About, Failure> {
        let failed = |error: Error| failure(&error);
        let lock = self.open(mode).map_err(failed)?;
        let patience = Duration::from_secs(60);
        let request = Request::new(Sharing::Exclusive).timeout(patience);
        let guard = lock.acquire(request).map_err(failed)?;
        let ttl = guard.ttl();
        guard.release().map_err(failed)?;
        let shown = lock.name();
        Ok(About {
            shown: shown
                .split_once('#')
                .map_or(shown, |(place, _)| place)
                .to_owned(),
            kind: lock.kind(),
            ttl,
        })
    }

    /// Who holds the lock of a mode. None: the engine does not tell.
    pub(in crate::torture) fn holders(&self, mode: Mode) -> Option<Vec<String>> {
        let members = self.open(mode).ok()?.members().ok()?;
        Some(members.holders.iter().map(ToString::to_string).collect())
    }

    /// Ends the hold with this token. True: there was one.
    pub(in crate::torture) fn end(&self, mode: Mode, token: u64) -> bool {
        let lock = self.open(mode);
        lock.and_then(|lock| lock.break_holder(token))
            .is_ok_and(|holder| holder.is_some())
    }
}

fn options(url: &str) -> impl Iterator<Item = &str> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    query.split('&')
}

fn with(url: &str, option: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{option}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_added_to_whatever_url() {
        for (url, expected) in [
            ("etcd://h", "etcd://h?ttl=3"),
            ("redis://u@h:1/2", "redis://u@h:1/2?ttl=3"),
            (
                "postgres://h/d?sslmode=disable#name",
                "postgres://h/d?sslmode=disable&ttl=3",
            ),
            ("etcd://h?ttl=7", "etcd://h?ttl=7"),
        ] {
            let engine = Engine::named(OsStr::new(url), Path::new("/tmp/.x-1"));
            let engine = engine.unwrap_or_else(|failure| panic!("{}", failure.message));
            assert_eq!(engine.url, expected);
            assert_eq!(engine.lock_name(Mode::Run), "x-1-run");
        }
    }
}
