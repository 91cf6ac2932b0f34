//! A file system that does not answer: FUSE with a program that does not serve requests.

use std::time::{Duration, Instant};

use crate::support::{Finished, Place, Running, wait_for};
use crate::{Findings, skipped, workers_of};

/// Long enough for a busy machine, and still an end.
const SOON: Duration = Duration::from_secs(60);

/// Answers the kernel's first request, and no other request.
const SERVER: &str = r#"
import os, struct
while True:
    request = os.read(3, 1 << 20)
    length, opcode, unique = struct.unpack_from("<IIQ", request)
    if opcode == 26:
        hello = struct.pack("<IIIIHHIIHHI", 7, 31, 65536, 0, 12, 9, 65536, 1, 256, 0, 0)
        hello = hello.ljust(64, b"\0")
        os.write(3, struct.pack("<IiQ", 16 + len(hello), 0, unique) + hello)
"#;

const MOUNT: &str = "exec 3<>/dev/fuse && mkdir -p m && mount -i -t fuse.sshfs \
                     -o fd=3,rootmode=40000,user_id=0,group_id=0 host:/srv m || exit 99";

/// Mounts it, and runs the doctor; None if FUSE is not available.
fn examine(place: &Place, server: &str) -> Option<Finished> {
    let mut command = place.command("unshare");
    // A process that is left behind must not keep the caller's lock on descriptor 9.
    let script = format!(
        "{MOUNT}; {server} exec 3>&- 9>held; \"$HOLDLOCK\" flock -n 9 || exit 98; \
         \"$HOLDLOCK\" doctor --json --timeout 3s m/x.lock; code=$?; exec 9>&-; \
         \"$HOLDLOCK\" flock -n held echo free >&2; \
         [ -z \"$pid\" ] || kill -9 $pid; exit $code"
    );
    command.args(["-m", "sh", "-c", &script]);
    let begin = Instant::now();
    let finished = Running::start(command).finish();
    assert!(begin.elapsed() < SOON, "took {:?}", begin.elapsed());
    if finished.code() == 99 || finished.stderr.contains("unshare failed") {
        skipped(&format!("no FUSE here: {}", finished.stderr));
        return None;
    }
    Some(finished)
}

fn expect_unresponsive(finished: &Finished) {
    assert_eq!(finished.code(), 1, "{finished:?}");
    assert_eq!(finished.stderr, "free\n");
    let findings = Findings::of(finished);
    findings.expect("unresponsive", "unsafe", "fuse.sshfs file system host:/srv");
    findings.expect("unresponsive", "unsafe", "while looking for the directory");
    // Known without asking it.
    findings.expect("file-system", "unsafe", "fuse.sshfs");
}

#[test]
fn a_mount_whose_server_never_began_is_a_finding_and_no_hang() {
    let place = Place::new();
    // The shell keeps the descriptor, and reads nothing from it.
    if let Some(finished) = examine(&place, "exec 4<&3;") {
        expect_unresponsive(&finished);
    }
}

/// If the server has read the request of a process, the kernel does not end that process, not even
/// by SIGKILL.
#[test]
fn a_worker_that_cannot_be_killed_is_left_behind() {
    let place = Place::new();
    if place.command("python3").arg("--version").output().is_err() {
        return skipped("needs python3");
    }
    std::fs::write(place.join("server.py"), SERVER).unwrap();
    let Some(finished) = examine(&place, "python3 server.py & pid=$!;") else {
        return;
    };
    expect_unresponsive(&finished);
    // The server is dead now, and with it the mount: so is the worker.
    let own = place.join("m").display().to_string();
    wait_for("the worker to end", || {
        workers_of(own.as_ref()).is_empty().then_some(())
    });
}
