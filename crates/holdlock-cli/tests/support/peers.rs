//! Other programs that acquire locks.

use std::ffi::OsStr;
use std::process::Command;
use std::sync::OnceLock;

pub(crate) use holdlock_test_support::{can_trace, has, in_container, skipped};

use super::{Place, Running};

/// The interpreter of `python3` itself, which starts ten times as fast as a script that looks for
/// it.
pub(crate) fn interpreter() -> Option<&'static str> {
    static PYTHON: OnceLock<Option<String>> = OnceLock::new();
    let look = || {
        let mut command = Command::new("python3");
        let output = command
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        let name = String::from_utf8(output.ok()?.stdout).ok()?;
        Some(name.trim().to_owned()).filter(|name| !name.is_empty())
    };
    PYTHON.get_or_init(look).as_deref()
}

/// A command that runs its arguments in a PID namespace of their own, as in a container.
pub(crate) fn container(place: &Place) -> Option<Command> {
    let new = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let tried = Command::new("unshare").args(new).arg("true").output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        skipped("needs root's rights and unshare(1)");
        return None;
    }
    let mut command = place.command("unshare");
    command.args(new);
    Some(command)
}

/// Acquires a lock of a kind and prints `held`. It unlocks when it reads `unlock`; otherwise it
/// keeps the lock until its standard input ends.
const LOCKER: &str = r#"
import fcntl, struct, sys
kind, path = sys.argv[1:3]
file = open(path, 'a+')
def ofd(type, start=0, length=0):
    fcntl.fcntl(file, 37, struct.pack('hhqqi4x', type, 0, start, length, 0))
{'flock': lambda: fcntl.flock(file, fcntl.LOCK_EX),
 'posix': lambda: fcntl.lockf(file, fcntl.LOCK_EX, 10, 5),
 'ofd': lambda: ofd(fcntl.F_WRLCK),
 'ofd-range': lambda: ofd(fcntl.F_RDLCK, 7, 3),
 'lease': lambda: fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK),
}[kind]()
print('held', flush=True)
for line in sys.stdin:
    if line == 'unlock\n':
        fcntl.flock(file, fcntl.LOCK_UN)
        print('unlocked', flush=True)
"#;

/// A Python program that already holds a lock of this kind on a file.
pub(crate) fn python(place: &Place, kind: &str, path: impl AsRef<OsStr>) -> Running {
    let mut command = place.command("python3");
    command.args(["-c", LOCKER, kind]).arg(path);
    let mut running = Running::start_with_stdin(command);
    running.expect_line("held");
    running
}
