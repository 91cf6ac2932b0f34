//! What the subcommands that look at locks have in common: how a process, a lock and a
//! time are shown to people and to machines.

pub(crate) mod json;
pub(crate) mod spot;
pub(crate) mod table;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod xml;

/// Says on standard error what could not be seen.
pub(crate) fn tell_unseen(snapshot: &holdlock::inspect::Snapshot) {
    for unseen in &snapshot.unseen {
        crate::exit::warn(&unseen.to_string());
    }
}
