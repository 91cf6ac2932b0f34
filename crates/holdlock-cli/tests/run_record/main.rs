//! `holdlock run` with the record of the lock: tokens, holders that died, notes, intervals.

mod abandoned;
mod files;
mod intervals;
mod runs;
mod shown;
#[path = "../support/mod.rs"]
mod support;
