//! Children own nothing: fork, exec, and what remains afterwards.

use std::process::{Command, Stdio};

use holdlock::{FileLock, Request};
use holdlock_conformance::sys::{self, fork};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");
const FORKER: &str = env!("CARGO_BIN_EXE_forker");

/// Runs one of the forker's scenes, in a process with a single thread.
#[track_caller]
fn scene(name: &str) {
    scene_of(FORKER, name);
}

/// The same of many forks, in a process with other threads.
#[track_caller]
fn storm(name: &str) {
    scene_of(env!("CARGO_BIN_EXE_fork-storm"), name);
}

#[track_caller]
fn scene_of(program: &str, name: &str) {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let status = Command::new(program)
        .arg(name)
        .arg(scratch.lock())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .status()
        .expect("runs");
    assert!(status.success(), "{name}: {status}");
}

#[test]
fn a_guard_dropped_in_the_child_does_not_unlock_the_parent() {
    scene("drop");
    scene("drop-bare");
}

#[test]
fn a_guard_released_in_the_child_does_not_unlock_the_parent() {
    scene("release");
}

#[test]
fn a_child_that_locks_opens_the_file_anew_and_waits_like_any_process() {
    scene("child-locks");
    scene("child-locks-bare");
}

#[test]
fn a_child_of_a_child_owns_nothing_either() {
    scene("grandchild");
}

#[test]
fn a_child_does_not_keep_a_lock_that_its_killed_parent_held() {
    scene("parent-killed");
}

#[test]
fn a_child_does_not_keep_a_lock_with_which_its_parent_exited() {
    scene("parent-exits");
}

#[test]
fn a_shared_guard_in_the_child_does_not_count() {
    scene("shared");
}

#[test]
fn timed_waits_and_cancellation_work_in_a_child() {
    scene("child-waits");
}

#[test]
fn in_a_child_the_guards_descriptor_is_a_placeholder() {
    scene("placeholder");
    scene("no-descriptor-left");
}

#[test]
fn a_child_keeps_no_lock_file_that_another_thread_closes_meanwhile() {
    storm("closing");
    storm("reading");
}

#[test]
fn a_task_in_a_child_waits_although_the_parent_was_starting_threads() {
    storm("threads");
}

#[test]
fn a_child_closes_a_lock_file_whose_number_is_above_the_limit() {
    scene("above-the-limit");
}

#[test]
fn a_chain_of_forks_collects_one_placeholder_for_each_guard_and_nothing_else() {
    scene("chain");
}

#[test]
fn a_lock_that_was_handed_over_is_kept_by_children() {
    scene("hand-over");
    scene("hand-over-shared");
    scene("hand-over-fails");
}

#[test]
fn a_child_forked_while_another_thread_opens_the_file_does_not_keep_its_lock() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let slowly = |path: &std::path::Path| {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-e", "trace=openat"]);
        command.args(["-e", "inject=openat:delay_exit=20000", "-P"]);
        command.arg(path);
        command
    };
    let works = slowly(&scratch.lock()).arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        return holdlock_conformance::skipped("needs strace and the right to trace");
    }
    let status = slowly(&scratch.lock())
        .args([FORKER, "slow-open"])
        .arg(scratch.lock())
        .status();
    assert!(status.expect("runs").success());
}

#[test]
fn a_child_forked_while_another_thread_looks_for_holders_looks_itself() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let slowly = || {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "--trace-path=/proc/locks"]);
        command.arg("--inject=openat:delay_enter=500000");
        command
    };
    let works = slowly().arg("true").status();
    if !works.is_ok_and(|status| status.success()) {
        return holdlock_conformance::skipped("needs strace and the right to trace");
    }
    let status = slowly()
        .args([FORKER, "slow-look"])
        .arg(scratch.lock())
        .status();
    assert!(status.expect("runs").success());
}

#[test]
fn a_future_of_the_parent_is_an_error_in_the_child() {
    scene("future");
}

#[test]
fn no_child_of_a_fork_storm_keeps_a_lock() {
    storm("locks");
}

#[test]
fn a_fork_between_busy_threads_leaves_the_child_a_working_lock() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = FileLock::open(&path).expect("opens");
    let stop = std::sync::atomic::AtomicBool::new(false);
    let on = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !stop.load(on) {
                    drop(lock.lock().expect("locked"));
                    // Other threads open and close files during the fork, too.
                    drop(FileLock::open(&path).expect("opens"));
                }
            });
        }
        for _ in 0..200 {
            // Another thread may hold any mutex at the fork; the child must not wait for it.
            let child = fork(|| {
                let taken = lock.acquire(Request::exclusive()).is_ok();
                i32::from(!taken)
            });
            assert_eq!(child.wait(), 0);
        }
        stop.store(true, on);
    });
}

#[test]
fn a_program_started_while_the_lock_is_held_does_not_inherit_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::holding(ACTOR, &path);
    let child: u32 = holder.ask("spawn").parse().expect("a pid");
    let links = std::fs::read_dir(format!("/proc/{child}/fd")).expect("the child's descriptors");
    for link in links.flatten() {
        assert_ne!(std::fs::read_link(link.path()).ok(), Some(path.clone()));
    }
    holder.kill();
    let mut other = Actor::start(ACTOR, &path);
    other.must("try");
    sys::kill(child, libc::SIGKILL);
}

#[test]
fn a_killed_holder_leaves_no_stale_lock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    let mut waiter = Actor::start(ACTOR, &path);
    holder.must("lock");
    waiter.must_block("lock", &path);
    holder.kill();
    assert_eq!(waiter.answer(), "ok");
}

#[test]
fn a_holder_that_exits_without_releasing_leaves_no_stale_lock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = Actor::start(ACTOR, &path);
    let mut waiter = Actor::start(ACTOR, &path);
    holder.must("lock");
    waiter.must_block("lock", &path);
    holder.tell("exit");
    assert_eq!(waiter.answer(), "ok");
}

#[test]
fn the_descriptor_of_a_lock_is_close_on_exec() {
    use std::os::fd::{AsFd, AsRawFd};
    let scratch = Scratch::new();
    let lock = FileLock::open(scratch.lock()).expect("opens");
    let guard = lock.lock().expect("locked");
    let fd = guard.as_fd().as_raw_fd();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).expect("fdinfo");
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:\t"))
        .and_then(|flags| i32::from_str_radix(flags, 8).ok())
        .expect("flags");
    assert_ne!(flags & libc::O_CLOEXEC, 0);
    queue::eventually("it is a lock file", || info.contains("FLOCK"));
}
