//! Locks over real servers of Redis or Valkey, which the tests start and stop themselves.

#![allow(missing_docs, reason = "tests")]

mod beside;
#[path = "../common/mod.rs"]
mod common;
mod ending;
mod lease;
mod login;
mod lost;
mod partition;
mod quarantine;
mod refused;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod waits;

/// A name that no other test uses.
fn name(of: &str) -> String {
    format!("{of}-{}", std::process::id())
}
