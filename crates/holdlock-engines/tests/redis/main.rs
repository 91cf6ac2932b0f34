//! Locks over real servers of Redis or Valkey, which the tests start and stop themselves.

#![allow(missing_docs, reason = "tests")]

mod beside;
#[path = "../common/mod.rs"]
mod common;
mod ending;
mod fake;
mod lease;
#[path = "../leased/mod.rs"]
mod leased;
mod login;
mod lost;
mod partition;
mod quarantine;
mod reconnect;
mod refused;
mod replicas;
#[path = "../support/mod.rs"]
mod support;
mod waits;

use holdlock_test_support::servers::redis as server;
use support::name;
