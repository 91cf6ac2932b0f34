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
#[path = "../support/mod.rs"]
mod support;
mod terminated;
mod tripwire;
mod unfinished;
mod waits;

use holdlock_test_support::servers::postgres as server;
use support::name;
