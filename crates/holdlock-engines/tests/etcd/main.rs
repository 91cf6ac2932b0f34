//! Locks over real clusters of etcd, which the tests start and stop themselves.

#![allow(missing_docs, reason = "tests")]

mod beside;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod leaving;
mod lost;
mod partition;
mod refused;
mod server;
#[path = "../support/mod.rs"]
mod support;

/// A name that no other test uses.
fn name(of: &str) -> String {
    format!("{of}-{}", std::process::id())
}
