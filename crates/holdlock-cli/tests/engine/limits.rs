//! A limit of this system that is reached while the engine is connected to.

use std::process::Command;

use holdlock_test_support::watchdog;

use crate::{engines, said};

/// Fewer open files than a lock of an engine needs, at each step on the way to it.
const FEW: std::ops::Range<u32> = 4..24;

#[test]
fn the_limit_of_open_files_is_named_and_is_not_taken_for_a_server_that_is_away() {
    let _dog = watchdog::watch(120);
    for server in engines() {
        for host in ["127.0.0.1", "localhost"] {
            let (mut at_connecting, mut succeeded) = (false, false);
            for files in FEW {
                // A run may leave its lock to the server, which a slow machine may reach late.
                let url = server.url(&format!("few-{files}-{host}"));
                let url = url.replace('?', "?connect_timeout=60&");
                let url = url.replace("127.0.0.1", host);
                let script = format!("ulimit -n {files}; exec \"$0\" run -n \"$1\" -- true");
                let mut shell = Command::new("sh");
                shell.args(["-c", &script, env!("CARGO_BIN_EXE_holdlock"), &url]);
                let (code, _, errors) = said(&mut shell);
                at_connecting |= errors.contains("opening a connection failed");
                succeeded |= code == Some(0);
                // With fewer files the program cannot be started.
                let starts = code != Some(127);
                let names = errors.contains("limit") && errors.contains("open files");
                assert!(
                    !starts || code == Some(0) || code == Some(71) && names,
                    "{url} {files}: {code:?} {errors}"
                );
            }
            assert!(at_connecting && succeeded, "{} at {host}", server.engine());
        }
    }
}
