//! `holdlock doctor` for an engine: is it a safe place for locks?

use holdlock_engines::{EngineServer, Error, Level as Severity};

use super::finding::{self, Finding, Level};
use super::{Settings, json, text};
use crate::engines::{self, failure};
use crate::exit::{self, Failure, Outcome};
use crate::show::output::print;

/// A URL is examined with or without a lock's name; a bare name means the engine of
/// HOLDLOCK_ENGINE.
pub(super) fn doctor(settings: &Settings) -> Outcome {
    if settings.timeout.is_some() {
        return Err(Failure::usage(
            "--timeout is for file systems; the URL of an engine has a time limit of its own \
             (connect_timeout=5)",
        ));
    }
    let place = match engines::is_url(&settings.lock) {
        true => engines::open_place(&settings.lock)?,
        false => engines::place_of_names()?,
    };
    let mut findings: Vec<Finding> = place.warnings().iter().map(|text| warning(text)).collect();
    let trouble = match place.diagnose() {
        Ok(found) => {
            findings.extend(found.iter().map(of_engine));
            None
        }
        Err(error) => {
            findings.push(of_error(&error));
            // That the engine is unsuitable is the answer; others prevent the answer.
            (!matches!(error, Error::Unsuitable { .. })).then(|| failure(&error).code)
        }
    };
    show(settings, &place, &findings)?;
    Ok(match trouble {
        Some(code) => code,
        None if finding::are_safe(&findings) => exit::SUCCESS,
        None => exit::NOT_SAFE,
    })
}

fn show(settings: &Settings, place: &EngineServer, findings: &[Finding]) -> Result<(), Failure> {
    if settings.json {
        return print(&json::document(place.name(), Some(place.kind()), findings));
    }
    let paint = text::Paint::of_terminal();
    let mut shown = text::title(place.name());
    for finding in findings {
        shown += &text::finding(finding, &paint);
    }
    print(&(shown + &text::verdict(findings, &paint)))
}

fn of_engine(found: &holdlock_engines::Finding) -> Finding {
    let level = match found.level {
        Severity::Ok => Level::Ok,
        Severity::Note => Level::Note,
        Severity::Warning => Level::Warning,
        Severity::Unsafe => Level::Unsafe,
    };
    let finding = Finding::new(level, found.id, found.found.clone());
    match &found.remedy {
        Some(remedy) => finding.remedy(remedy.clone()),
        None => finding,
    }
}

/// `why; what to do`
fn of_error(error: &Error) -> Finding {
    let id = match error {
        Error::Unsuitable { .. } => "engine",
        Error::Credentials { .. } => "login",
        _ => "connection",
    };
    split(Level::Unsafe, id, &format!("{error:#}"))
}

fn warning(text: &str) -> Finding {
    split(Level::Warning, "url", text)
}

fn split(level: Level, id: &str, text: &str) -> Finding {
    match text.split_once("; ") {
        Some((found, remedy)) => Finding::new(level, id, found).remedy(remedy),
        None => Finding::new(level, id, text),
    }
}
