//! What the subcommands that look at locks have in common: how a process, a lock and a
//! time are shown to people and to machines.

pub(crate) mod json;
pub(crate) mod time;
