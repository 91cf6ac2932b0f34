//! Locks over real servers of Redis or Valkey, which the tests start and stop themselves.

#![allow(missing_docs, reason = "tests")]

mod basic;
mod churn;
mod ending;
mod fork;
mod login;
mod lost;
mod order;
mod quarantine;
mod refused;
mod server;
#[path = "../support/mod.rs"]
mod support;

/// A name that no other test uses.
fn name(of: &str) -> String {
    format!("{of}-{}", std::process::id())
}
