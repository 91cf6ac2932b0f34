//! `EngineServer`: the place of many locks.

use std::fmt;

use crate::engine::Engine;
use crate::keeper::serve;
use crate::url::Url;
use crate::{EngineLock, Error, Finding, Members};

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

    /// Examines whether this is a safe place for locks. Waits for the engine, at most for some
    /// seconds.
    ///
    /// # Errors
    ///
    /// Those of [`EngineLock::lock`]. [`Error::Unsuitable`] is itself the finding that no lock can
    /// be kept there.
    pub fn diagnose(&self) -> Result<Vec<Finding>, Error> {
        serve::ask(
            &self.engine,
            |engine| async move { engine.diagnose().await },
        )
    }

    /// Makes what [`EngineLock::last_run`] and [`EngineGuard::record_run`] need, where the engine
    /// needs something, and returns a sentence that says what. Calling it again does no harm.
    ///
    /// # Errors
    ///
    /// Those of [`EngineLock::lock`]; [`Error::Credentials`] when this user may not make it.
    ///
    /// [`EngineGuard::record_run`]: crate::EngineGuard::record_run
    pub fn init(&self) -> Result<String, Error> {
        serve::ask(&self.engine, |engine| async move { engine.init().await })
    }
}

impl fmt::Debug for EngineServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineServer")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
