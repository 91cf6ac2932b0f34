//! What the tests of all engines share.

#![allow(dead_code, reason = "not every engine's tests use all of it")]

use std::panic::Location;
use std::path::Path;

pub(crate) mod actor;
pub(crate) mod broken;
pub(crate) mod churn;
pub(crate) mod ending;
pub(crate) mod fork;
pub(crate) mod futures;
pub(crate) mod limits;
pub(crate) mod lost;
pub(crate) mod lost_answer;
pub(crate) mod order;
pub(crate) mod partition;
pub(crate) mod place;
pub(crate) mod process;
pub(crate) mod unfinished;

/// The name of a lock that the tests of no other file use, and no other process.
#[track_caller]
pub(crate) fn name(of: &str) -> String {
    let file = Path::new(Location::caller().file()).with_extension("");
    let mut parts = file.iter().rev().map(|part| part.to_string_lossy());
    let (file, folder) = (parts.next(), parts.next());
    let (file, folder) = (file.unwrap_or_default(), folder.unwrap_or_default());
    format!("{folder}-{file}-{of}-{}", std::process::id())
}

/// Numbers that are the same in each run.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}
