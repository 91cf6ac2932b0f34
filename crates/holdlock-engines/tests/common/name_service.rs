//! A name service that does not answer.

use std::path::Path;
use std::process::{Command, Stdio};

use holdlock_test_support::servers::Server as _;
use holdlock_test_support::{skipped, watchdog};

use crate::support::actor::Actor;
use crate::{name, server};

/// The user's name is looked up by the caller, and once: the helper thread has locks to keep.
#[test]
fn a_name_service_that_falls_silent_stops_no_request() {
    let _dog = watchdog::watch(60);
    let Some(server) = server::shared() else {
        return;
    };
    if !rustix::process::geteuid().is_root() {
        return skipped("only root can mount");
    }
    let scratch = tempfile::tempdir().expect("a directory");
    // Opening it waits for a writer.
    let silent = scratch.path().join("passwd");
    assert!(run(Command::new("mkfifo").arg(&silent)));
    let mut actor = Actor::in_own_mounts(&server.url(&name("silent")));
    assert!(actor.ask("lock").starts_with("held"));
    assert_eq!(actor.ask("release"), "released");
    if !run(&mut mount(&silent, actor.pid())) {
        return skipped("this machine does not let us mount");
    }
    assert!(actor.ask("lock").starts_with("held"));
    assert_eq!(actor.ask("release"), "released");
}

fn mount(over: &Path, pid: u32) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["-t", &pid.to_string(), "-m", "mount", "--bind"]);
    command.arg(over).arg("/etc/passwd");
    command
}

fn run(command: &mut Command) -> bool {
    let status = command.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
