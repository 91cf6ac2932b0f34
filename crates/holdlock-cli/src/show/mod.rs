//! What the subcommands share: how a process, a lock, a time and a picture are shown to people
//! and to machines.

use std::io;
use std::path::Path;

use crate::exit::{Failure, OS_ERROR, reason};

pub(crate) mod calendar;
pub(crate) mod held;
pub(crate) mod job;
pub(crate) mod json;
pub(crate) mod number;
pub(crate) mod output;
pub(crate) mod spot;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod width;

/// A failure to read /proc: if it is not mounted, the message says so.
pub(crate) fn proc_failure(what: &str, error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound && !Path::new("/proc/self").exists() {
        let why = "/proc is not mounted; mount it: mount -t proc proc /proc";
        return Failure::new(OS_ERROR, format!("{what}: {why}"));
    }
    let message = format!("{what}: {}", reason(&error));
    Failure::new(OS_ERROR, message)
}

/// Reports on standard error what could not be seen.
pub(crate) fn tell_unseen(snapshot: &holdlock::inspect::Snapshot) {
    for unseen in &snapshot.unseen {
        crate::exit::warn(&unseen.to_string());
    }
}
