//! The right to upgrade: one of many readers has it, and its upgrade is atomic.

mod actors;
mod exclusion;
mod losses;
mod others;
mod refusals;
mod waits;
