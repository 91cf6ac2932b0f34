//! A process is killed when it is about to make a system call: at each call of an acquisition, of a
//! wait and of a release. The kernel frees what it had, and the next request is served.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdlock::{Error, FileLock, LockSet, Semaphore};
use holdlock_conformance::{Scratch, can_trace, queue, watchdog};

const SLOT_ACTOR: &str = env!("CARGO_BIN_EXE_slot-actor");
const SETS: &str = env!("CARGO_BIN_EXE_sets");

/// These calls count only if they concern a lock file.
const FILE_CALLS: [&str; 6] = ["openat", "newfstatat", "flock", "fcntl", "close", "fstat"];

/// The calls of the threads that wait for the slots, and of the request that waits for them.
const THREAD_CALLS: [&str; 3] = ["clone3", "futex", "tgkill"];

/// More than a process makes of any of these calls.
const MOST: usize = 200;

const MINUTE: Duration = Duration::from_secs(60);

/// Where a process is killed: at the call with this name and number. Each thread counts for itself.
struct Point {
    call: &'static str,
    number: usize,
}

/// Starts a program under strace, and gives it this input.
fn start(point: &Point, files: &[PathBuf], program: &mut Command, input: &str) -> Child {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    command.arg(format!("trace={}", point.call));
    let Point { call, number } = point;
    command.arg(format!("--inject={call}:signal=KILL:when={number}"));
    if FILE_CALLS.contains(call) {
        for file in files {
            command.arg("-P").arg(file);
        }
    }
    command.arg(program.get_program()).args(program.get_args());
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut child = command.spawn().expect("strace starts");
    // It may be dead by now.
    let _ = child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes());
    child
}

/// Repeats the trial for each point, until the process lives to its end. The trial tells whether it
/// did.
fn at_each_call(calls: &[&'static str], trial: impl Fn(&Point) -> bool) {
    if !can_trace() {
        return;
    }
    let mut deaths = 0;
    for call in calls {
        let is_survived = |number| trial(&Point { call, number });
        let survived = (1..MOST).find(|number| is_survived(*number));
        deaths += survived.expect("the process lives if it is not killed") - 1;
    }
    assert!(deaths > 2 * calls.len(), "{deaths} deaths");
}

fn is_dead(child: &mut Child) -> bool {
    child.try_wait().expect("a child").is_some()
}

/// No slot is held or lost, each has its number, and the number of slots is free again. A thread
/// that is about to leave the queue may still be in the way.
#[track_caller]
fn assert_all_free(path: &Path, point: &Point) {
    let Point { call, number } = point;
    let semaphore = Semaphore::open(path, 2).expect("opens");
    let guards = [(); 2].map(|()| {
        let guard = semaphore.try_lock_for(MINUTE);
        guard.unwrap_or_else(|error| panic!("killed at {call} {number}: {error}"))
    });
    assert_eq!(guards.each_ref().map(|guard| guard.slot()), [0, 1]);
    assert!(matches!(semaphore.try_lock(), Err(Error::WouldBlock(_))));
    drop(guards);
    let other = Semaphore::open(path, 3).expect("opens");
    drop(
        other
            .try_lock_for(MINUTE)
            .expect("nobody uses the file with 2 slots"),
    );
}

#[test]
fn a_process_that_is_killed_at_any_call_of_an_acquisition_of_a_slot_leaves_all_slots_free() {
    let _dog = watchdog::watch(300);
    at_each_call(&FILE_CALLS, |point| {
        let scratch = Scratch::in_memory();
        let path = scratch.lock();
        std::fs::write(&path, "").expect("created");
        let mut actor = Command::new(SLOT_ACTOR);
        actor.arg(&path).arg("2");
        let orders = "lock\nrelease\ntry\nrelease\n";
        let mut doomed = start(point, std::slice::from_ref(&path), &mut actor, orders);
        let status = doomed.wait().expect("a child");
        assert_all_free(&path, point);
        status.success()
    });
}

#[test]
fn a_process_that_is_killed_at_any_call_of_a_wait_for_a_slot_leaves_it_to_the_next_waiter() {
    let _dog = watchdog::watch(300);
    let calls: Vec<&str> = FILE_CALLS.into_iter().chain(THREAD_CALLS).collect();
    at_each_call(&calls, |point| {
        let scratch = Scratch::in_memory();
        let path = scratch.lock();
        let semaphore = Semaphore::open(&path, 2).expect("opens");
        let zero = semaphore.lock_owned().expect("free");
        let one = semaphore.lock_owned().expect("free");
        assert_eq!((zero.slot(), one.slot()), (0, 1));
        let mut actor = Command::new(SLOT_ACTOR);
        actor.arg(&path).arg("2");
        let mut doomed = start(
            point,
            std::slice::from_ref(&path),
            &mut actor,
            "lock\nrelease\n",
        );
        queue::eventually("the process waits for both slots, or is dead", || {
            queue::length(&path) == 2 || is_dead(&mut doomed)
        });
        std::thread::scope(|scope| {
            let next = scope.spawn(|| semaphore.lock_owned().expect("served"));
            drop(zero);
            let guard = next.join().expect("no panic");
            assert_eq!(guard.slot(), 0, "the other slot is held");
        });
        drop(one);
        let status = doomed.wait().expect("a child");
        assert_all_free(&path, point);
        status.success()
    });
}

#[test]
fn a_process_that_is_killed_at_any_call_of_a_set_leaves_all_its_locks_to_the_next_waiter() {
    let _dog = watchdog::watch(300);
    at_each_call(&FILE_CALLS, |point| {
        let scratch = Scratch::in_memory();
        let files = ["0.lock", "1.lock"].map(|name| scratch.path(name));
        let locks = files
            .clone()
            .map(|file| FileLock::open(file).expect("opens"));
        let both = LockSet::new(&locks);
        let mut survived = true;
        for busy in &locks {
            let held = busy.lock().expect("free");
            let mut sets = Command::new(SETS);
            // Each of the two sets has both locks.
            sets.arg(scratch.directory()).args(["2", "7", "times", "2"]);
            let mut doomed = start(point, &files, &mut sets, "go\n");
            queue::eventually("the process waits, or is dead", || {
                queue::length(busy.path()) == 1 || is_dead(&mut doomed)
            });
            std::thread::scope(|scope| {
                let next = scope.spawn(|| drop(both.lock().expect("served")));
                drop(held);
                next.join().expect("no panic");
            });
            let status = doomed.wait().expect("a child");
            let Point { call, number } = point;
            let free = both.try_lock();
            drop(free.unwrap_or_else(|error| panic!("killed at {call} {number}: {error}")));
            survived &= status.success();
        }
        survived
    });
}
