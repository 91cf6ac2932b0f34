//! The command as it is installed: a static program.

use std::fs;
use std::process::Command;

use holdlock_test_support::{skipped, watchdog};

use crate::said;

/// A library that is made for another glibc would crash it.
#[test]
fn it_loads_no_library_to_find_a_host_or_a_user() {
    let _dog = watchdog::watch(60);
    let Some(program) = std::env::var_os("HOLDLOCK_DIST") else {
        return skipped("HOLDLOCK_DIST does not name an installed command");
    };
    if Command::new("strace").arg("-V").output().is_err() {
        return skipped("strace is not installed");
    }
    let place = tempfile::tempdir().expect("a directory");
    let [services, trace] = ["services", "trace"].map(|name| place.path().join(name));
    fs::write(&services, "hosts: other files dns\npasswd: other files\n").expect("a file");
    // Where the file says so, glibc would look for libnss_other.so.2.
    let script = "mount --bind \"$0\" /etc/nsswitch.conf || exit 99\n\
                  exec strace -f -e trace=openat -o \"$1\" \"$2\" run -n \"$3\" -- true";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]);
    command.args([&services, &trace]).arg(program);
    let (code, _, errors) = said(command.arg("postgres://localhost:1/database#lock"));
    if code == Some(99) || errors.contains("unshare failed") {
        return skipped("needs root's rights, unshare(1) and /etc/nsswitch.conf");
    }
    assert_eq!(code, Some(69), "{errors}");
    let opened = fs::read_to_string(trace).expect("what strace wrote");
    assert!(opened.contains("\"/etc/hosts\""), "{opened}");
    assert!(!opened.contains("libnss_"), "{opened}");
}
