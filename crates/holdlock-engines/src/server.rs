//! `EngineServer`: the place of many locks.

use std::fmt;
use std::time::Duration;

use crate::client;
use crate::engine::Engine;
use crate::keeper::serve;
use crate::url::Url;
use crate::{EngineLock, Error, Finding, Level, Members};

/// The lock that is tried to find out whether the engine gives locks to this user.
const TRIED: &str = "holdlock-doctor";

/// For how long it is tried while others hold it, as another `diagnose` does for a moment.
const TRIED_FOR: Duration = Duration::from_secs(10);

/// The place that a URL without a lock's name means: a database, a server.
///
/// Made by [`open_server`](crate::open_server).
#[derive(Clone)]
pub struct EngineServer {
    url: Url,
    engine: Engine,
}

/// A lock that is held or waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its name; the first characters of a very long one. `None` if the engine shows no name to
    /// this user.
    pub name: Option<String>,
    /// Its holders and waiters.
    pub members: Members,
}

impl EngineServer {
    pub(crate) fn open(url: &str) -> Result<EngineServer, Error> {
        let url = Url::parse_place(url)?;
        Ok(EngineServer {
            engine: Engine::open(&url)?,
            url,
        })
    }

    /// The lock of this name.
    ///
    /// # Errors
    ///
    /// [`Error::Url`] when the name cannot be one.
    pub fn lock(&self, name: &str) -> Result<EngineLock, Error> {
        let url = self.url.clone().with_name(name.to_owned())?;
        Ok(EngineLock::at(Engine::open(&url)?))
    }

    /// The URL without user, password, options and name.
    pub fn name(&self) -> &str {
        let shown = self.engine.shown();
        shown.split_once('#').map_or(shown, |(place, _)| place)
    }

    /// The engine, in one word: `postgres`, `etcd` or `redis`.
    pub fn kind(&self) -> &'static str {
        self.engine.kind()
    }

    /// The lock's name behind `#`, if the URL has one.
    pub fn lock_name(&self) -> Option<&str> {
        Some(self.url.name.as_str()).filter(|name| !name.is_empty())
    }

    /// What the user should change although it works: sentences, to be shown once.
    pub fn warnings(&self) -> &[String] {
        self.engine.warnings()
    }

    /// All locks of this place that are held or waited for. Waits for the engine, at most for some
    /// seconds.
    ///
    /// # Errors
    ///
    /// Those of [`EngineLock::lock`].
    pub fn list(&self) -> Result<Vec<Listed>, Error> {
        serve::ask(&self.engine, |engine| async move { engine.list().await })
    }

    /// As [`EngineLock::has_client`].
    ///
    /// # Errors
    ///
    /// Those of [`EngineLock::has_client`].
    pub fn has_client(&self, pid: u32) -> Result<bool, Error> {
        client::is_among_those_of(&self.engine, pid)
    }

    /// Examines whether this is a safe place for locks, and acquires a lock of the name
    /// `holdlock-doctor` for a moment. Waits for the engine, at most for some seconds.
    ///
    /// # Errors
    ///
    /// Those of [`EngineLock::lock`]. [`Error::Unsuitable`] is itself the finding that no lock can
    /// be kept there.
    pub fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        let mut findings = serve::ask(
            &self.engine,
            |engine| async move { engine.diagnose().await },
        )?;
        findings.push(self.try_a_lock()?);
        Ok(findings)
    }

    /// Rights, memory or commands that a lock needs can be missing where all else is in order.
    fn try_a_lock(&self) -> Result<Finding, Error> {
        let mut url = self.url.clone().with_name(TRIED.to_owned())?;
        // With `key=` it would be the user's own lock.
        url.options
            .retain(|(option, _)| option != "key" && option != "slots");
        let lock = EngineLock::at(Engine::open(&url)?);
        let tried = lock
            .try_lock_for(TRIED_FOR)
            .and_then(|guard| guard.release());
        Ok(match tried {
            Ok(()) => Finding::new(Level::Ok, "lock", "a lock was acquired and released"),
            // Others try the same, or the server was just started, or did not answer the release.
            Err(error) if error.is_conflict() || matches!(error, Error::Lost { .. }) => {
                Finding::new(Level::Note, "lock", format!("not known: {error}"))
            }
            Err(error) => {
                let text = format!("no lock can be acquired: {error:#}");
                let (found, remedy) = text
                    .split_once("; ")
                    .unwrap_or((&text, "mend this at the engine, and examine it again"));
                Finding::new(Level::Unsafe, "lock", found).remedy(remedy)
            }
        })
    }

    /// Makes what [`EngineLock::last_run`] and [`EngineGuard::record_run`] need, where the engine
    /// needs something, and returns a sentence that says what. Calling it again does no harm.
    ///
    /// # Errors
    ///
    /// [`Error::Unsuitable`] when it is there, but not as this makes it. Those of
    /// [`EngineLock::lock`]; [`Error::Credentials`] when this user may not make it.
    ///
    /// [`EngineGuard::record_run`]: crate::EngineGuard::record_run
    pub fn init(&self) -> Result<String, Error> {
        serve::change(&self.engine, |engine| async move { engine.init().await })
    }
}

impl fmt::Debug for EngineServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineServer")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
