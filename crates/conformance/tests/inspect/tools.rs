//! Helpers of these tests.

use std::path::Path;
use std::process::Command;

use holdlock::inspect::{self, Holder, LockedFile, Snapshot};
use holdlock_conformance::{Actor, skipped, sys};

pub(crate) const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");
pub(crate) const STRANGER: &str = env!("CARGO_BIN_EXE_stranger");
pub(crate) const LOOK: &str = env!("CARGO_BIN_EXE_look");

/// A process that locks these files by bare system calls.
pub(crate) fn stranger(paths: &[&Path]) -> Actor {
    let mut command = Command::new(STRANGER);
    command.args(paths);
    Actor::from_command(command)
}

pub(crate) fn look(path: &Path) -> Snapshot {
    inspect::file(path).expect("/proc/locks can be read")
}

/// The only file there.
#[track_caller]
pub(crate) fn one_file(path: &Path) -> LockedFile {
    let mut files = look(path).files;
    assert_eq!(files.len(), 1, "{files:#?}");
    files.remove(0)
}

/// The only holder of the only lock of a file.
#[track_caller]
pub(crate) fn one_holder(file: &LockedFile) -> &Holder {
    assert_eq!(file.locks.len(), 1, "{file:#?}");
    assert_eq!(file.locks[0].holders.len(), 1, "{file:#?}");
    &file.locks[0].holders[0]
}

/// The processes that keep the locks of a file.
pub(crate) fn holder_pids(file: &LockedFile) -> Vec<u32> {
    let holders = file.holders();
    holders.iter().map(|holder| holder.pid).collect()
}

/// The processes that wait, with their turns.
pub(crate) fn turns(file: &LockedFile) -> Vec<(u32, u32)> {
    let turn = |waiter: &inspect::Waiter| {
        let process = waiter.process.as_ref().expect("a process");
        (process.pid, waiter.turn)
    };
    file.waiters.iter().map(turn).collect()
}

/// The lines of `look`, which this command starts.
pub(crate) fn said(command: &mut Command) -> Vec<String> {
    let output = command.output().expect("look runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    let text = String::from_utf8(output.stdout).expect("utf-8");
    text.lines().map(str::to_owned).collect()
}

/// Whether `words`, such as `unshare --mount`, can run here. Prints a line `SKIPPED` if not.
pub(crate) fn can(words: &[&str]) -> bool {
    let works = Command::new(words[0])
        .args(&words[1..])
        .arg("true")
        .output();
    let works = works.is_ok_and(|output| output.status.success());
    if !works {
        skipped(&format!("`{}` does not work here", words.join(" ")));
    }
    works
}

/// A process that is not a child of the test. Killed when the test ends.
pub(crate) struct Orphan(pub(crate) u32);

impl Orphan {
    /// A child that keeps all descriptors of a stranger.
    pub(crate) fn kept_by(stranger: &mut Actor) -> Orphan {
        Orphan(stranger.ask("keep").parse().expect("a pid"))
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        sys::kill(self.0, libc::SIGKILL);
    }
}
