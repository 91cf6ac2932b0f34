//! The abilities of this machine that tests need.

use std::ffi::OsStr;
use std::io::Write;

/// Whether a program is installed. Prints a line `SKIPPED` if it is not.
pub fn has(program: impl AsRef<OsStr>) -> bool {
    let program = program.as_ref();
    let found = std::process::Command::new("sh")
        .args(["-c", r#"command -v "$0" > /dev/null"#])
        .arg(program)
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        skipped(&format!("{} is not installed", program.display()));
    }
    found
}

/// Whether strace(1) works here. Prints a line `SKIPPED` if it does not.
pub fn can_trace() -> bool {
    let tried = std::process::Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status();
    let can_trace = tried.is_ok_and(|status| status.success());
    if !can_trace {
        skipped("needs strace and the right to trace");
    }
    can_trace
}

/// Whether this process is in a PID namespace of its own, as in a container. There the kernel does
/// not list a lock whose taker has ended or is outside.
pub fn in_container() -> bool {
    // The number of the first one is part of the kernel's interface (PROC_PID_INIT_INO).
    std::fs::read_link("/proc/self/ns/pid").is_ok_and(|link| link.as_os_str() != "pid:[4026531836]")
}

/// Prints why a test, or a part of one, does not run here.
pub fn skipped(reason: &str) {
    // Not by eprintln!, which libtest captures: a run that passes shows the line as well.
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {reason}");
}
