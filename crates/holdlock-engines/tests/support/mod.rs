//! What the tests of all engines share.

#![allow(dead_code, reason = "not every engine's tests use all of it")]

pub(crate) mod actor;
pub(crate) mod broken;
pub(crate) mod churn;
pub(crate) mod ending;
pub(crate) mod fork;
pub(crate) mod futures;
pub(crate) mod network;
pub(crate) mod order;
pub(crate) mod partition;
pub(crate) mod place;
pub(crate) mod proxy;

/// Numbers that are the same in each run.
pub(crate) fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}
