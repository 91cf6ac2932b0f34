//! Locks over real clusters of etcd, which the tests start and stop themselves.

#![allow(missing_docs, reason = "tests")]

mod asleep;
mod beside;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
#[path = "../leased/mod.rs"]
mod leased;
mod leaving;
mod lost;
mod partition;
mod refused;
mod relay;
#[path = "../support/mod.rs"]
mod support;

use holdlock_test_support::servers::etcd as server;
use support::name;
