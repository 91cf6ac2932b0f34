//! A host where thousands of locks are held. What these tests hold is in the way of others, so this
//! program runs alone.

mod removed;
mod scale;
#[path = "../inspect/tools.rs"]
#[allow(dead_code, reason = "for the tests of the inspection")]
mod tools;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Runs one test after the other, because each disturbs what the others examine.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}
