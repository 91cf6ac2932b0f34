//! `holdlock who`: the holders and the waiters of a lock.

#[cfg(feature = "engines")]
mod engine;
mod job;
mod probe;
mod send;
mod signal;
mod text;
mod view;
mod wait;

use std::ffi::OsString;
use std::time::Duration;

use holdlock::inspect::Process;
use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

pub(crate) use send::identified;
pub(crate) use signal::{name as signal_name, named as signal_named};
pub(crate) use text::still_held;
pub(crate) use view::View;
pub(crate) use wait::{Patience, until_free};

use crate::exit::{self, Failure, Outcome};
use crate::lockdir::{self, Names};
use crate::show::output::print;
use crate::{namesakes, show};
use send::{Consent, send};
use view::Answer;

/// A process holds the lock.
const HELD: u8 = 0;
/// No process holds it.
const FREE: u8 = 1;
/// It is unknown whether a process holds the lock, or which one.
pub(crate) const UNKNOWN: u8 = 2;

/// The options of the command line.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) lock: OsString,
    pub(crate) names: Names,
    pub(crate) form: Form,
    /// Show all waiters, also on a terminal.
    pub(crate) all: bool,
    pub(crate) wait: Option<Patience>,
    pub(crate) signal: Option<Signal>,
    pub(crate) yes: bool,
    /// End the hold of the holder with this token.
    pub(crate) broken: Option<u64>,
}

/// The form of the answer, besides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Text,
    Json,
    Nothing,
}

/// Looks at the lock, shows it, waits and sends signals, as the options say.
pub(crate) fn who(settings: Settings) -> Outcome {
    #[cfg(feature = "engines")]
    if crate::engines::is_meant(&settings.lock) {
        return engine::who(settings);
    }
    if settings.broken.is_some() {
        return Err(Failure::usage(
            "--break is for the locks of engines; a file's lock ends with its holder, so end that: \
             --signal TERM",
        ));
    }
    let location = lockdir::locate_among(&settings.lock, settings.names)?;
    let is_private = location.is_private();
    if settings.form != Form::Nothing {
        namesakes::warn(&settings.lock, &location);
    }
    let mut view = View::of(location.trusted()?)?;
    if settings.form == Form::Text && view.answer != Answer::HeldOutside {
        print(&text::report(&view, settings.all))?;
    }
    if settings.form != Form::Nothing && view.answer != Answer::HeldOutside {
        tell(&view);
    }
    let mut signalled = Vec::new();
    if let Some(signal) = settings.signal {
        let consent = match (settings.yes, settings.form) {
            (false, _) => Consent::Asked,
            // The holders were shown, and those that only inherited the lock were marked.
            (true, Form::Text) => Consent::Given,
            // No other user could have opened the file and handed it to a stranger.
            (true, _) if is_private => Consent::Given,
            (true, _) => Consent::ToTakers,
        };
        signalled = send(&view, signal, consent)?;
    }
    let mut waited = None;
    if let Some(patience) = settings.wait {
        let began_held = !view.is_free();
        let time = until_free(std::slice::from_mut(&mut view), patience)?;
        waited = Some(time);
        if settings.form == Form::Text && began_held {
            print(&text::waited(&view, time))?;
        }
    }
    if settings.form == Form::Json {
        print(&document(&view, waited, &signalled))?;
    }
    match view.answer {
        Answer::HeldOutside if waited.is_none() => {
            Err(Failure::new(UNKNOWN, view::outside(&view.path)))
        }
        answer => Ok(match (waited.is_some(), answer == Answer::Free) {
            (true, true) => exit::SUCCESS,
            (true, false) => exit::CONFLICT,
            (false, true) => FREE,
            (false, false) => HELD,
        }),
    }
}

/// Warns of facts that are not part of the answer but matter.
fn tell(view: &View) {
    if view.snapshot.files.iter().any(|file| file.mixes_families()) {
        exit::warn(&format!(
            "{}: some processes have locked it by flock(2), others by fcntl(2): they do not \
             exclude each other; let all of them use the same kind of lock",
            show::text::path(&view.path)
        ));
    }
    show::tell_unseen(&view.snapshot);
}

fn document(view: &View, waited: Option<Duration>, signalled: &[Pid]) -> String {
    let mut document = json!({
        "version": 1,
        "waited_s": waited.map(|time| time.as_secs_f64()),
        "signalled": signalled.iter().map(|pid| pid.as_raw_pid()).collect::<Vec<_>>(),
    });
    merge(&mut document, fields(view));
    show::json::document(&document)
}

/// What is known about one lock, for machines.
pub(crate) fn fields(view: &View) -> Value {
    json!({
        "path": show::json::path(&view.path),
        "exists": view.exists,
        "held": !view.is_free(),
        "files": show::json::files(&view.snapshot.files),
        "jobs": view.holders().into_iter().filter_map(job_of).collect::<Value>(),
        "unseen": show::json::unseen(&view.snapshot.unseen),
    })
}

/// The processes of a holder that runs a command under the lock.
fn job_of(holder: &Process) -> Option<Value> {
    let job = job::of(holder);
    let processes: Value = job.iter().map(show::json::process).collect();
    (!job.is_empty()).then(|| json!({"holder": holder.pid, "processes": processes}))
}

fn merge(document: &mut Value, more: Value) {
    if let (Value::Object(document), Value::Object(more)) = (document, more) {
        document.extend(more);
    }
}
