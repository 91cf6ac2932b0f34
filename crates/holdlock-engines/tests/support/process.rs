//! A test that runs in a process of its own, apart from the other tests of its program.

use std::process::Command;

/// Runs a test of this program in a process of its own, with these variables.
pub(crate) fn in_a_process_of_its_own(module: &str, test: &str, variables: &[(&str, &str)]) {
    let (_, module) = module.split_once("::").expect("in a crate");
    let ended = Command::new(std::env::current_exe().expect("known"))
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{variables:?}: {ended:?}");
    assert!(said.contains("1 passed"), "{said}");
}
