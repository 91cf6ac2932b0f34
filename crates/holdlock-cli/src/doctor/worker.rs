//! The process that touches the path, and may hang: it reports each finding at once.
//!
//! Before each step it says what it will look at, so its last line names the step that hung.

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;
use std::thread;

use serde_json::{Value, json};

use super::family::{self, FAMILIES};
use super::finding::{Finding, Level};
use super::place::{self, Place};
use super::temporary::Temporary;
use super::{
    cleaners, container, exclusion, file_system, identity, inspect, internal, kernel_table,
    lock_file, room, sharing, sticky,
};
use crate::exit::{self, Failure, Outcome, reason};
use crate::show::output::print;

/// The hidden subcommand by which the doctor starts its workers.
pub(crate) const WORKER: &str = "__doctor-worker";
/// The step after which there may be a temporary file.
pub(super) const CREATING: &str = "creating a temporary file";
/// The word that makes a worker only remove what another worker left.
pub(super) const SWEEP: &str = "sweep";

/// The whole life of a worker.
pub(crate) fn work(mut words: impl Iterator<Item = OsString>) -> Outcome {
    let misused = || internal(WORKER);
    let path = words.next().ok_or_else(misused)?;
    let is_name = words.next().ok_or_else(misused)? == "name";
    let name = words.next().ok_or_else(misused)?;
    let name = name.to_str().ok_or_else(misused)?.to_owned();
    let sweep = words.next().is_some();
    if sweep {
        return match place::find(Path::new(&path), is_name) {
            Ok(place) if Temporary::new(&place.directory, &name).remove() => say_done(),
            _ => Ok(exit::OS_ERROR),
        };
    }
    step("looking for the directory")?;
    match place::find(Path::new(&path), is_name) {
        Ok(place) => {
            end_with_parent(Temporary::new(&place.directory, &name));
            if look(&place)? {
                try_out(&place, Temporary::new(&place.directory, &name))?;
            }
        }
        Err(finding) => tell([finding])?,
    }
    say_done()
}

/// What can be known by looking. False if nothing can be tried, as on a read-only mount without the
/// lock file; one finding is then enough.
fn look(place: &Place) -> Result<bool, Failure> {
    step("looking at the mount")?;
    let mount = file_system::look(place);
    let is_read_only = mount
        .iter()
        .any(|found| found.id == file_system::READ_ONLY && found.level == Level::Unsafe);
    tell(mount)?;
    tell(container::look(place))?;
    if is_read_only {
        return Ok(false);
    }
    step("looking at the lock file")?;
    tell(lock_file::look(place))?;
    step("looking for its holders")?;
    tell(inspect::look(place))?;
    step("looking for users that can acquire the lock")?;
    tell(sharing::look(place))?;
    tell(sticky::look(place))?;
    step("looking for free space")?;
    tell(room::look(place))?;
    step("reading the rules of temp cleaners")?;
    tell(cleaners::look(place))?;
    Ok(true)
}

/// Tries locks on a file of our own.
fn try_out(place: &Place, temporary: Temporary) -> Result<(), Failure> {
    step(CREATING)?;
    let file = match temporary.create() {
        Ok(file) => file,
        Err(error) => return tell([not_created(place, &error)]),
    };
    tell(created(place))?;
    for family in FAMILIES {
        step(&format!("trying {} locks", family::title(family)))?;
        tell([exclusion::try_out(&file, family)])?;
    }
    step("trying locks of both families together")?;
    tell(exclusion::interference(&file))?;
    step("comparing with the kernel's table of locks")?;
    tell(kernel_table::look(&file))?;
    step("removing and renaming the temporary file")?;
    tell(identity::try_out(&temporary, &file))?;
    drop(temporary);
    Ok(())
}

fn created(place: &Place) -> Option<Finding> {
    place.file.is_none().then(|| {
        let directory = place.directory.display();
        Finding::ok(
            "create",
            format!("the lock file can be created in {directory}"),
        )
    })
}

/// A lock file that exists can be locked although no file can be created beside it.
fn not_created(place: &Place, error: &io::Error) -> Finding {
    let directory = place.directory.display();
    let found = format!("no file can be created in {directory}: {}", reason(error));
    if place.file.is_some() {
        let found = format!("{found}; locks were not tried");
        return Finding::new(Level::Warning, "create", found)
            .remedy("try again as a user that can create files there");
    }
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "give this user the right to write there, create the lock file as a user who can, or \
             choose another directory"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or choose another directory"
        }
        _ => "choose another directory",
    };
    Finding::not_safe("create", found).remedy(remedy)
}

fn step(what: &str) -> Result<(), Failure> {
    say(&json!({ "step": what }))
}

fn tell(findings: impl IntoIterator<Item = Finding>) -> Result<(), Failure> {
    findings
        .into_iter()
        .try_for_each(|finding| say(&json!({ "finding": finding.to_json() })))
}

fn say_done() -> Outcome {
    say(&json!({ "done": true })).map(|()| exit::SUCCESS)
}

fn say(value: &Value) -> Result<(), Failure> {
    print(&format!("{value}\n"))
}

/// Cleans up when the doctor has ended, perhaps by Ctrl-C: standard input ends then.
fn end_with_parent(temporary: Temporary) {
    thread::spawn(move || {
        while matches!(io::stdin().read(&mut [0]), Ok(1..)) {}
        temporary.remove_and_exit(exit::OS_ERROR);
    });
}
