//! What the subcommands share: how a process, a lock, a time and a picture are shown to people
//! and to machines.

pub(crate) mod calendar;
pub(crate) mod job;
pub(crate) mod json;
pub(crate) mod output;
pub(crate) mod spot;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod width;

/// Reports on standard error what could not be seen.
pub(crate) fn tell_unseen(snapshot: &holdlock::inspect::Snapshot) {
    for unseen in &snapshot.unseen {
        crate::exit::warn(&unseen.to_string());
    }
}
