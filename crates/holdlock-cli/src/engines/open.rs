//! From a word to a lock of an engine, or to the engine.

use std::ffi::OsStr;

use holdlock_engines::{EngineLock, EngineServer, Error};

use super::{ENGINE, failure, is_url};
use crate::exit::{self, Failure};
use crate::lockdir::Names;
use crate::show::text;
use crate::sys::name_service;

/// The lock that a URL means, or a bare name under HOLDLOCK_ENGINE. Does not connect.
pub(crate) fn open(lock: &OsStr, names: Names) -> Result<EngineLock, Failure> {
    if is_url(lock) {
        if names == Names::System {
            return Err(Failure::usage(
                "--system is for names, and a URL is given; leave out --system",
            ));
        }
        name_service::without_libraries();
        return holdlock_engines::open(text_of(lock)?).map_err(|error| failure(&error));
    }
    if names == Names::System {
        return Err(Failure::usage(format!(
            "--system is for lock files, but {ENGINE} makes {} a lock of an engine; leave out one \
             of them",
            text::path(lock)
        )));
    }
    let named = place_of_names()?.lock(text_of(lock)?);
    named.map_err(|error| of_variable(&error))
}

/// The place that HOLDLOCK_ENGINE means.
pub(crate) fn place_of_names() -> Result<EngineServer, Failure> {
    let url = std::env::var_os(ENGINE).unwrap_or_default();
    // The value may contain a password, so no message shows it.
    if !is_url(&url) {
        return Err(Failure::usage(format!(
            "{ENGINE} is not the URL of an engine; write it as in postgres://host/database"
        )));
    }
    name_service::without_libraries();
    let place = holdlock_engines::open_server(text_of(&url)?);
    let place = place.map_err(|error| of_variable(&error))?;
    match place.lock_name() {
        None => Ok(place),
        Some(_) => Err(Failure::usage(format!(
            "{ENGINE} has the name of a lock behind `#`; leave `#` and the name out: the names are \
             those of the command line"
        ))),
    }
}

fn of_variable(error: &Error) -> Failure {
    let failure = failure(error);
    Failure {
        message: format!("{ENGINE}: {}", failure.message),
        ..failure
    }
}

/// The place that a URL means: a database, a server.
pub(crate) fn open_place(url: &OsStr) -> Result<EngineServer, Failure> {
    name_service::without_libraries();
    holdlock_engines::open_server(text_of(url)?).map_err(|error| failure(&error))
}

/// What the user should change although it works.
pub(crate) fn tell(warnings: &[String]) {
    for text in warnings {
        exit::warn(&format!("warning: {text}"));
    }
}

fn text_of(word: &OsStr) -> Result<&str, Failure> {
    word.to_str().ok_or_else(|| {
        Failure::usage("a URL, and the name of a lock of an engine, have to be UTF-8")
    })
}
