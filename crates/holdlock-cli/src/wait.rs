//! `holdlock wait`: waits until locks are free, and acquires no lock.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::{Value, json};

#[cfg(feature = "engines")]
use crate::engines;
use crate::exit::{self, Failure, Outcome};
use crate::lockdir::{self, Names};
use crate::show::output::print;
use crate::who::{self, Patience, View};
use crate::{namesakes, show};

/// The settings of the command line.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) locks: Vec<OsString>,
    pub(crate) names: Names,
    pub(crate) patience: Patience,
    pub(crate) quiet: bool,
    pub(crate) json: bool,
}

/// Waits until no process holds any of the locks.
pub(crate) fn wait(settings: Settings) -> Outcome {
    #[cfg(feature = "engines")]
    if settings.locks.iter().any(|lock| engines::is_meant(lock)) {
        return for_engines(&settings);
    }
    let mut views = Vec::with_capacity(settings.locks.len());
    for lock in &settings.locks {
        let location = lockdir::locate_among(lock, settings.names)?;
        if !settings.quiet {
            namesakes::warn(lock, &location);
        }
        views.push(View::of(location.trusted()?).map_err(not_seen)?);
    }
    let waited = who::until_free(&mut views, settings.patience).map_err(not_seen)?;
    let held: Vec<&View> = views.iter().filter(|view| !view.is_free()).collect();
    if settings.json {
        let locks = views.iter().map(who::fields).collect();
        print(&document(locks, waited, held.is_empty()))?;
    } else if !settings.quiet {
        for view in &held {
            exit::warn(&who::still_held(view, waited));
        }
    }
    Ok(if held.is_empty() {
        exit::SUCCESS
    } else {
        exit::CONFLICT
    })
}

/// The same for locks of engines.
#[cfg(feature = "engines")]
fn for_engines(settings: &Settings) -> Outcome {
    use engines::view::{View, until_free};
    let mut views = Vec::with_capacity(settings.locks.len());
    for lock in &settings.locks {
        if !engines::is_meant(lock) {
            return Err(Failure::usage(
                "locks of engines and lock files cannot be waited for together; wait for one after \
                 the other",
            ));
        }
        let lock = engines::open(lock, settings.names)?;
        if !settings.quiet {
            engines::tell(lock.warnings());
        }
        views.push(View::of(lock)?);
    }
    let waited = until_free(&mut views, settings.patience)?;
    let held: Vec<&View> = views.iter().filter(|view| !view.is_free()).collect();
    if settings.json {
        let locks = views.iter().map(View::fields).collect();
        print(&document(locks, waited, held.is_empty()))?;
    } else if !settings.quiet {
        held.iter()
            .for_each(|view| exit::warn(&view.still_held(waited)));
    }
    Ok(if held.is_empty() {
        exit::SUCCESS
    } else {
        exit::CONFLICT
    })
}

/// Changes the exit code, because `who` has another one for a lock that cannot be examined.
fn not_seen(failure: Failure) -> Failure {
    match failure.code {
        who::UNKNOWN => Failure {
            code: exit::OS_ERROR,
            ..failure
        },
        _ => failure,
    }
}

fn document(locks: Value, waited: Duration, free: bool) -> String {
    let document = json!({
        "version": 1,
        "free": free,
        "waited_s": waited.as_secs_f64(),
        "locks": locks,
    });
    show::json::document(&document)
}
