//! `holdlock who`: who holds a lock and who waits for it.

mod guarded;
mod signal;
mod text;
mod view;
mod wait;

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::json;

pub(crate) use guarded::identified;
pub(crate) use signal::{name as signal_name, named as signal_named};

use crate::exit::{self, Failure, Outcome};
use crate::{lockdir, show};
use guarded::Consent;
use view::View;

/// Somebody has a lock.
const HELD: u8 = 0;
/// Nobody has one.
const FREE: u8 = 1;
/// Everything that went wrong.
const TROUBLE: u8 = 2;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) lock: OsString,
    pub(crate) form: Form,
    pub(crate) wait: Option<Patience>,
    pub(crate) signal: Option<Signal>,
    pub(crate) yes: bool,
}

/// How the answer is given, besides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Nothing,
}

/// How long to wait until it is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Endless,
    For(Duration),
}

/// The exit codes are few here, so that `if holdlock who` can tell yes from no.
pub(crate) fn failure(failure: Failure) -> Failure {
    match failure.code {
        exit::SUCCESS | exit::NO_READER => failure,
        _ => Failure {
            code: TROUBLE,
            ..failure
        },
    }
}

/// Looks, shows, and does what else is asked for.
pub(crate) fn who(settings: Settings) -> Outcome {
    answer(&settings).map_err(failure)
}

fn answer(settings: &Settings) -> Outcome {
    let location = lockdir::locate(&settings.lock)?;
    let is_private = location.is_private();
    let path = location.trusted()?;
    let mut view = View::of(path)?;
    if settings.form == Form::Text {
        print(&text::report(&view))?;
    }
    if settings.form != Form::Nothing {
        tell(&view);
    }
    let mut signalled = Vec::new();
    if let Some(signal) = settings.signal {
        let consent = match (settings.yes, settings.form) {
            (false, _) => Consent::Asked,
            // Whoever is marked as one that only inherited the lock was shown.
            (true, Form::Text) => Consent::Given,
            // Nobody else could have opened the file and handed it to somebody.
            (true, _) if is_private => Consent::Given,
            (true, _) => Consent::ToTakers,
        };
        signalled = guarded::send(&view, signal, consent)?;
    }
    let mut waited = None;
    if let Some(patience) = settings.wait {
        let began_held = view.is_held();
        let time = wait::until_free(&mut view, patience)?;
        waited = Some(time);
        if settings.form == Form::Text && began_held {
            print(&text::waited(&view, time))?;
        }
    }
    if settings.form == Form::Json {
        print(&document(&view, waited, &signalled))?;
    }
    Ok(if view.is_held() { HELD } else { FREE })
}

/// What is not part of the answer and should not be overlooked.
fn tell(view: &View) {
    if view.snapshot.files.iter().any(|file| file.mixes_families()) {
        exit::warn(&format!(
            "{}: locked by flock(2) and by fcntl(2) at once, which do not see each other: \
             these programs do not exclude one another",
            show::text::path(&view.path)
        ));
    }
    show::tell_unseen(&view.snapshot);
}

fn document(view: &View, waited: Option<Duration>, signalled: &[Pid]) -> String {
    let document = json!({
        "version": 1,
        "path": show::json::path(&view.path),
        "exists": view.exists,
        "held": view.is_held(),
        "waited_s": waited.map(|time| time.as_secs_f64()),
        "signalled": signalled.iter().map(|pid| pid.as_raw_pid()).collect::<Vec<_>>(),
        "files": show::json::files(&view.snapshot.files),
        "unseen": show::json::unseen(&view.snapshot.unseen),
    });
    show::json::document(&document)
}

fn print(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::output)
}
