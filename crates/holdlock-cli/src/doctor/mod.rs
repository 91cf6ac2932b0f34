//! `holdlock doctor`: would locks work here?
//!
//! A process that touches the path may hang for ever if a server does not answer. Therefore this
//! process does not touch it: it starts a worker (this program again), which looks and reports, and
//! continues without a worker that does not answer.

mod cleaners;
mod container;
#[cfg(feature = "engines")]
mod engine;
mod exclusion;
mod family;
mod file_system;
mod finding;
mod identity;
mod inspect;
mod json;
mod kernel_table;
mod lock_file;
mod mounts;
mod overlay;
pub(crate) mod partner;
mod place;
mod room;
mod run_worker;
mod sharing;
mod sticky;
mod temporary;
mod text;
mod tmpfiles;
pub(crate) mod worker;

use std::ffi::OsString;
use std::time::Duration;

use crate::exit::{self, Failure, Outcome};
use crate::lockdir;
use crate::show::output::print;
pub(crate) use partner::PARTNER;
pub(crate) use worker::WORKER;

/// What the command line asks for.
pub(crate) struct Settings {
    pub(crate) lock: OsString,
    pub(crate) json: bool,
    /// For each step.
    pub(crate) timeout: Option<Duration>,
}

/// Enough for a distant server, and not too long for a waiting user.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Examines the place of a lock and says what was found.
pub(crate) fn doctor(settings: Settings) -> Outcome {
    #[cfg(feature = "engines")]
    if crate::engines::is_meant(&settings.lock) {
        return engine::doctor(&settings);
    }
    let location = lockdir::locate(&settings.lock)?;
    let patient = run_worker::Patient {
        path: std::path::absolute(&location.path)
            .map_err(|error| Failure::system("cannot tell the current directory", error))?,
        is_name: location.is_name(),
    };
    let paint = text::Paint::of_terminal();
    let mut findings = Vec::new();
    if !settings.json {
        print(&text::title(&crate::show::text::path(&patient.path)))?;
    }
    let timeout = settings.timeout.unwrap_or(TIMEOUT);
    run_worker::examine(&patient, timeout, |finding| {
        // Printed at once: the next step may hang.
        if !settings.json {
            print(&text::finding(&finding, &paint))?;
        }
        findings.push(finding);
        Ok(())
    })?;
    print(&if settings.json {
        json::document(&patient.path.to_string_lossy(), None, &findings)
    } else {
        text::verdict(&findings, &paint)
    })?;
    Ok(if finding::are_safe(&findings) {
        exit::SUCCESS
    } else {
        exit::NOT_SAFE
    })
}

/// The type of the file system that a path is on: `ext4`.
pub(crate) fn file_system_of(path: &std::path::Path) -> Option<String> {
    file_system::mount_of(path).map(|mount| mount.kind)
}

/// A usage error of a hidden subcommand.
fn internal(word: &str) -> Failure {
    Failure::usage(format!(
        "{word} is for `holdlock doctor` itself, which starts it"
    ))
}

/// This program again, also if its file was moved or removed.
fn myself() -> std::process::Command {
    std::process::Command::new("/proc/self/exe")
}
