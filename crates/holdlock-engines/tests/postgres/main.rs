//! Locks over real servers of PostgreSQL, which the tests start and stop themselves.

#![allow(missing_docs, reason = "tests")]

mod beside;
#[path = "../common/mod.rs"]
mod common;
mod key;
mod login;
mod lost;
mod partition;
mod questions;
mod refused;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod waits;

/// A name that no other test uses.
fn name(of: &str) -> String {
    format!("{of}-{}", std::process::id())
}
