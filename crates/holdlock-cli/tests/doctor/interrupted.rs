//! A doctor that ends at any moment leaves nothing behind.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::peers::can_trace;
use crate::support::{Place, Running, is_gone, wait_for};
use crate::{left_in, skipped, workers_of};

/// Longer than one examination, so that every step is interrupted sooner or later.
const ROUNDS: u64 = 40;

#[test]
fn a_doctor_that_is_killed_leaves_no_file_and_no_process() {
    let place = Place::new();
    for round in 0..ROUNDS {
        let doctor = Running::start(place.holdlock(["doctor", "./x.lock"]));
        std::thread::sleep(Duration::from_millis(round));
        drop(doctor);
    }
    let own = place.join("");
    wait_for("the workers to end", || {
        workers_of(&own).is_empty().then_some(())
    });
    assert_eq!(left_in(&own), [""; 0]);
}

/// The first process that a doctor has started, if it still runs or is not reaped.
fn child_of(pid: u64) -> Option<Pid> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let first = children.ok()?.split_whitespace().next()?.parse().ok()?;
    Pid::from_raw(first)
}

#[test]
fn a_worker_that_is_killed_is_an_error_and_leaves_no_file() {
    let place = Place::new();
    let own = place.join("");
    if !std::path::Path::new("/proc/thread-self/children").exists() {
        return skipped("the kernel does not tell a process's children");
    }
    let (mut met, mut round) = (0, 0);
    // On a busy machine it takes luck to meet one alive.
    while round < ROUNDS || (met == 0 && round < 20 * ROUNDS) {
        round += 1;
        let doctor = Running::start(place.holdlock(["doctor", "./x.lock"]));
        let pid = u64::from(doctor.pid());
        let worker = wait_for("the worker to begin, or all to end", || {
            let child = child_of(pid);
            (child.is_some() || is_gone(pid)).then_some(child)
        });
        std::thread::sleep(Duration::from_millis(round % ROUNDS / 4));
        if let Some(worker) = worker {
            let _ = kill_process(worker, Signal::KILL);
        }
        let finished = doctor.finish();
        if finished.code() == 71 {
            assert!(
                finished.stderr.contains("ended early, while "),
                "{finished:?}"
            );
            met += 1;
        } else {
            assert_eq!(finished.code(), 0, "{finished:?}");
        }
        assert_eq!(left_in(&own), [""; 0], "{finished:?}");
    }
    assert!(met > 0, "no worker was met alive");
}

#[test]
fn output_without_a_reader_leaves_no_file() {
    let place = Place::new();
    for _ in 0..ROUNDS / 4 {
        let script = "exec \"$HOLDLOCK\" doctor ./x.lock | head -n 1";
        let finished = Running::start(place.shell(script)).finish();
        assert_eq!(finished.code(), 0);
        let own = place.join("");
        wait_for("the workers to end", || {
            workers_of(&own).is_empty().then_some(())
        });
        assert_eq!(left_in(&own), [""; 0]);
    }
}

/// The doctor kills a worker that takes too long to remove its files.
#[test]
fn output_without_a_reader_leaves_no_file_of_a_slow_worker() {
    if !can_trace() {
        return;
    }
    let place = Place::new();
    // The reader ends when the files are there.
    let script = "strace -f -q -o /dev/null -e trace=unlink,unlinkat \
                  -e inject=unlink,unlinkat:delay_enter=400000 \
                  \"$HOLDLOCK\" doctor ./x.lock | sed -n /exclusion-flock/q";
    assert_eq!(Running::start(place.shell(script)).finish().code(), 0);
    assert_eq!(left_in(&place.join("")), [""; 0]);
}
