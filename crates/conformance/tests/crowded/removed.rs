//! A missing lock file on a host where other processes hold many locks: the search for a living
//! holder of a removed file finds the holder, and ends soon.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use holdlock::{Error, FileLock};
use holdlock_conformance::{Actor, Scratch, has, in_container, queue, skipped, sys, watchdog};

use crate::alone;

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");
const STRANGER: &str = env!("CARGO_BIN_EXE_stranger");

/// As many files as a process may have open on every machine.
const EACH: usize = 900;

/// A process that locks files near this path by bare system calls.
fn stranger(path: &Path) -> Actor {
    let mut command = Command::new(STRANGER);
    command.arg(path);
    Actor::from_command(command)
}

/// The system calls of a process that opens, and so creates, the missing lock file. One line each.
fn trace_of_the_first_open(scratch: &Scratch) -> Option<String> {
    let (path, trace) = (scratch.lock(), scratch.path("trace"));
    let status = Command::new("strace")
        .arg("-o")
        .arg(&trace)
        .arg(ACTOR)
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !status.is_ok_and(|status| status.success()) {
        skipped("needs strace and the right to trace");
        return None;
    }
    fs::remove_file(&path).expect("was created");
    let trace = fs::read_to_string(&trace).expect("a trace");
    println!("{} system calls", trace.lines().count());
    Some(trace)
}

/// How many calls search for locks that the kernel does not list.
fn unlisted() -> usize {
    if in_container() { 1100 } else { 0 }
}

/// How many bytes of the kernel's lock table were read, at most in one go.
fn read_of_the_table(trace: &str) -> usize {
    let (mut most, mut read, mut table) = (0, 0, None);
    for line in trace.lines() {
        let result = || line.rsplit_once(" = ").map(|(_, result)| result);
        if line.contains("\"/proc/locks\"") {
            (read, table) = (0, result().map(|number| format!("pread64({number}, ")));
        } else if table.as_ref().is_some_and(|it| line.starts_with(it)) {
            read += result().map_or(0, |count| count.parse().unwrap_or(0));
            most = most.max(read);
        }
    }
    most
}

/// The pid that the error names as the holder of the lock on the removed file.
#[track_caller]
fn is_refused(path: &Path) -> u32 {
    let error = FileLock::open(path)
        .and_then(|lock| lock.try_lock().map(drop))
        .expect_err("the holder of the removed file is still inside");
    assert!(matches!(error, Error::RemovedWhileHeld(_)), "{error}");
    assert!(!path.exists(), "a file was created beside the holder's");
    error.conflict().expect("a conflict").holders()[0].pid
}

#[test]
fn the_search_for_a_removed_files_holder_is_cheap() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let locks = || fs::read_to_string("/proc/locks").map_or(0, |table| table.lines().count());
    let before = (sys::thread_cpu(), locks());
    for _ in 0..200 {
        fs::remove_file(&path).expect("removed");
        drop(lock.lock().expect("locked"));
    }
    // About 50 us each, and some microseconds for each lock of another program, such as these tests
    // in another terminal. A scan of all processes for each would take far longer.
    let spent = sys::thread_cpu() - before.0;
    let others = before.1.max(locks()) as u32;
    let most = Duration::from_secs(2) + others * Duration::from_millis(2);
    assert!(spent < most, "{spent:?}, with {others} locks");
    queue::eventually("the file is there", || path.exists());
}

#[test]
fn locks_of_others_do_not_slow_the_first_acquisition() {
    let _alone = alone();
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    fs::create_dir(scratch.path("elsewhere")).expect("made");
    let near = scratch.path("elsewhere/near");
    let mut crowd: Vec<Actor> = (0..4).map(|_| stranger(&near)).collect();
    for holder in &mut crowd {
        // Each in a directory of its own, so that listing one directory shows only one file.
        holder.must(&format!("apart 0 {EACH}"));
    }
    if let Some(trace) = trace_of_the_first_open(&scratch) {
        assert!(trace.lines().count() < 2500 + unlisted(), "{trace}");
        let table = fs::read("/proc/locks").expect("readable").len();
        let read = read_of_the_table(&trace);
        assert!(0 < read && read < table * 4 / 5, "{read} of {table} bytes");
    }
}

#[test]
fn existing_files_are_not_examined_one_by_one() {
    let _alone = alone();
    let _dog = watchdog::watch(300);
    for directory in ["", "elsewhere"] {
        let scratch = Scratch::in_memory();
        fs::create_dir_all(scratch.path(directory)).expect("made");
        let mut holder = stranger(&scratch.path(directory).join("near"));
        holder.must(&format!("beside 0 {EACH}"));
        if let Some(trace) = trace_of_the_first_open(&scratch) {
            // Locks of other programs also cost something.
            let of_the_holder = trace.matches(&format!("/proc/{}/", holder.pid())).count();
            println!("{of_the_holder} calls for the holder");
            assert!(of_the_holder < 300 + unlisted(), "{directory:?}: {trace}");
        }
    }
}

#[test]
fn the_holder_is_found_among_a_thousand_locks() {
    let _alone = alone();
    let _dog = watchdog::watch(300);
    let scratch = Scratch::in_memory();
    let path = scratch.lock();
    fs::create_dir(scratch.path("elsewhere")).expect("made");
    let near = scratch.path("elsewhere/near");
    let few = scratch.path("elsewhere/few");
    let others = [
        (&near, format!("beside 0 {}", EACH / 2)),
        (&near, "apart 0 100".to_owned()),
        (&scratch.path("near"), format!("beside 0 {}", EACH / 2)),
        (&few, "beside 0 20".to_owned()),
    ];
    let _crowd = others.map(|(path, order)| {
        let mut holder = stranger(path);
        holder.must(&order);
        holder
    });
    // It has many locks of its own, so that the lock is not the first one to be examined.
    let mut holder = stranger(&path);
    holder.must("flock 0 ex");
    holder.must("apart 0 50");
    queue::wait_until_asleep(holder.pid());
    fs::remove_file(&path).expect("removed");
    assert_eq!(is_refused(&path), holder.pid());
}

/// Killed when dropped.
struct Child(u32);

impl Drop for Child {
    fn drop(&mut self) {
        sys::kill(self.0, libc::SIGKILL);
    }
}

#[test]
fn a_holder_that_was_passed_the_lock_is_found() {
    let _alone = alone();
    let _dog = watchdog::watch(60);
    for order in ["close 0", "leave it to the child"] {
        let scratch = Scratch::new();
        let path = scratch.lock();
        let mut taker = stranger(&path);
        taker.must("flock 0 ex");
        let child = Child(taker.ask("keep").parse().expect("a pid"));
        if order == "close 0" {
            taker.must(order);
        } else {
            taker.kill();
        }
        queue::wait_until_asleep(child.0);
        fs::remove_file(&path).expect("removed");
        assert_eq!(is_refused(&path), child.0, "{order}");
        drop(child);
        queue::eventually("the lock ends with the child", || {
            FileLock::open(&path).is_ok_and(|lock| lock.try_lock().is_ok())
        });
    }
}

#[test]
fn a_shell_that_locked_by_flock_1_is_found() {
    if !has("flock") {
        return;
    }
    let _alone = alone();
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut command = Command::new("sh");
    let script = r#"exec 9> "$1"; flock 9; echo ready; read -r line"#;
    command.args(["-c", script, "sh"]).arg(&path);
    let shell = Actor::from_command(command);
    queue::wait_until_asleep(shell.pid());
    fs::remove_file(&path).expect("removed");
    // flock(1), which the kernel names, has ended.
    assert_eq!(is_refused(&path), shell.pid());
}
