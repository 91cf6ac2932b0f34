//! Locks over real servers of PostgreSQL, which the tests start and stop themselves.

#![allow(missing_docs, reason = "tests")]

mod actor;
mod basic;
mod beside;
mod churn;
mod ending;
mod fork;
mod login;
mod lost;
mod order;
mod proxy;
mod refused;
mod server;

/// A name that no other test uses.
fn name(of: &str) -> String {
    format!("{of}-{}", std::process::id())
}
