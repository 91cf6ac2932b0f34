//! `holdlock wait`: waits until locks are free, and acquires no lock.

use std::ffi::OsString;
use std::time::Duration;

use serde_json::{Value, json};

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
        print(&document(&views, waited, held.is_empty()))?;
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

fn document(views: &[View], waited: Duration, free: bool) -> String {
    let document = json!({
        "version": 1,
        "free": free,
        "waited_s": waited.as_secs_f64(),
        "locks": views.iter().map(who::fields).collect::<Value>(),
    });
    show::json::document(&document)
}
