//! The harness of the conformance tests.
//!
//! Tests use real processes and wait for events, never for time to pass: an
//! [`Actor`] is a process that does one lock operation at a time as it is told,
//! and [`queue::wait_for`] sees in /proc/locks that it sleeps in the kernel's queue.
//! [`watchdog`] ends a test that hangs and says where. [`torture`] is exclusion
//! under load, with a [`witness`] that sees every overlap.

pub mod actor;
pub mod cycles;
pub mod peers;
pub mod queue;
pub mod scratch;
pub mod sys;
pub mod told;
pub mod torture;
pub mod watchdog;
pub mod witness;

pub use actor::Actor;
pub use scratch::Scratch;

/// Whether a program is installed; says so when it is not.
pub fn has(program: &str) -> bool {
    let found = std::process::Command::new("sh")
        .args(["-c", r#"command -v "$0" > /dev/null"#, program])
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        skipped(&format!("{program} is not installed"));
    }
    found
}

/// Whether this is a PID namespace of its own, as in a container. There the kernel lists no lock
/// whose taker has ended, or is outside.
pub fn in_container() -> bool {
    // The number of the first one is part of the kernel's interface (PROC_PID_INIT_INO).
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() != "pid:[4026531836]")
}

/// Prints why a test, or a part of one, is not run here.
pub fn skipped(reason: &str) {
    // Past libtest's capture, so that it is seen in a run that passes.
    use std::io::Write;
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}

/// The code of the pages for users of the library, compiled as documentation tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../../docs/from-other-crates.md")]
    struct FromOtherCrates;

    #[doc = include_str!("../../holdlock/README.md")]
    struct FirstSteps;
}
