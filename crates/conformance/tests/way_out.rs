//! A wait ends with `Error::Deadlock` if, and only if, no member of its cycle has a way out.
//!
//! Each member of a program has one lock and waits for the lock of the next member. The members are
//! written as in `cycles/plan.rs`.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use holdlock::{FileLock, LockOptions, Request};
use holdlock_conformance::cycles::plan::Plan;
use holdlock_conformance::cycles::{program, run};
use holdlock_conformance::{Scratch, has, queue, skipped, sys, watchdog};

const CYCLES: &str = env!("CARGO_BIN_EXE_cycles");

#[track_caller]
fn play(words: &[&str], goes_on: bool) {
    let scratch = Scratch::new();
    let plan = Plan::of(words);
    let report = program::play(Path::new(CYCLES), &plan, &scratch.path(""));
    let report = report.unwrap_or_else(|why| panic!("{plan}: {why}"));
    let wrong = program::wrong_with(&report, goes_on);
    assert_eq!(wrong, None, "{plan}: {report:?}");
}

#[track_caller]
fn goes_on(programs: &[&[&str]]) {
    let _dog = watchdog::watch(300);
    thread::scope(|scope| {
        let all: Vec<_> = programs
            .iter()
            .map(|words| scope.spawn(|| play(words, true)))
            .collect();
        for one in all {
            one.join().expect("it goes on");
        }
    });
}

#[track_caller]
fn is_stuck(programs: &[&[&str]]) {
    let _dog = watchdog::watch(300);
    for words in programs {
        play(words, false);
    }
}

#[test]
fn a_time_limit_is_a_way_out() {
    goes_on(&[
        &["Process/Limit", "Process"],
        &["Thread/Limit", "Thread"],
        &["Sharing/Limit", "Sharing"],
        &["Thread/Limit", "Process"],
        &["Process/Limit", "Thread", "Process"],
    ]);
}

#[test]
fn a_time_limit_of_flock_is_a_way_out() {
    if has("flock") {
        goes_on(&[&["Flock/Limit", "Process"], &["Flock/Limit", "Thread"]]);
    }
}

#[test]
fn a_token_is_a_way_out() {
    goes_on(&[
        &["Process/Token", "Process"],
        &["Thread/Token", "Thread"],
        &["Sharing/Token", "Sharing"],
    ]);
}

#[test]
fn an_alarm_is_a_way_out() {
    goes_on(&[&["Process/Alarm", "Process"], &["Bare/Alarm", "Process"]]);
}

#[test]
fn a_callback_of_another_process_is_a_way_out() {
    goes_on(&[&["Process/Callback", "Process"]]);
}

#[test]
fn a_child_that_has_inherited_the_lock_is_a_way_out() {
    goes_on(&[&["Process/Heir", "Process"], &["Bare/Heir", "Thread"]]);
    if !thread::spawn(sys::own_descriptor_table)
        .join()
        .expect("no panic")
    {
        return skipped("a thread may not have a descriptor table of its own here");
    }
    // A thread with a descriptor table of its own, which /proc/PID/fd does not show.
    goes_on(&[
        &["Process/HeirThread", "Process"],
        &["Bare/HeirThread", "Thread"],
    ]);
}

#[test]
fn a_guard_of_another_thread_is_a_way_out() {
    goes_on(&[
        &["Process/Guard", "Process"],
        &["Thread/Guard", "Thread"],
        &["Sharing/Guard", "Process"],
        &["Process/Owned", "Process"],
        &["Sharing/Owned", "Sharing"],
    ]);
}

#[test]
fn a_lock_that_is_not_this_librarys_is_a_way_out() {
    goes_on(&[
        &["Process/Std", "Process"],
        &["Thread/Std", "Thread"],
        &["Bare/Std", "Process"],
    ]);
}

#[test]
fn a_parent_that_waits_for_another_child_has_a_way_out() {
    goes_on(&[&["Parents/Child", "Process"], &["Process", "Parents/Child"]]);
}

#[test]
fn a_cycle_of_threads_and_processes_is_noticed_whatever_its_members() {
    is_stuck(&[
        &["Thread", "Thread"],
        &["Sharing", "Sharing"],
        &["Process", "Process"],
        &["Process", "Process", "Process"],
        &["Bare", "Process"],
        &["Thread", "Process", "Sharing", "Bare"],
    ]);
}

#[test]
fn a_cycle_through_parents_that_wait_is_noticed() {
    is_stuck(&[&["Parent", "Process"], &["Parents", "Parent"]]);
    if has("flock") {
        is_stuck(&[&["Flock", "Process"], &["Flock", "Thread"]]);
    }
}

/// One thread works for a while with the lock, by its own object; another thread waits for it.
#[test]
fn two_objects_on_one_path_are_no_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let open = |name: &str, fair| {
        let lock = LockOptions::new().fair(fair).open(scratch.path(name));
        Arc::new(lock.expect("opens"))
    };
    thread::scope(|scope| {
        for (name, shared, owned, fair) in [
            ("guard", false, false, false),
            ("owned", false, true, false),
            ("shared", true, false, false),
            ("fair", false, false, true),
        ] {
            let (held, wanted) = (open(name, fair), open(name, fair));
            let (told, taken) = mpsc::channel();
            scope.spawn(move || {
                let request = if shared {
                    Request::shared()
                } else {
                    Request::exclusive()
                };
                let work = Duration::from_millis(2500);
                if owned {
                    let _guard = held.acquire_owned(request).expect("locked");
                    told.send(()).expect("heard");
                    thread::sleep(work);
                } else {
                    let _guard = held.acquire(request).expect("locked");
                    told.send(()).expect("heard");
                    thread::sleep(work);
                }
            });
            scope.spawn(move || {
                taken.recv().expect("told");
                let got = wanted.lock().map(drop);
                assert!(got.is_ok(), "{name}: {got:?}");
            });
        }
    });
}

/// As [`two_objects_on_one_path_are_no_cycle`], but one of them is the standard library's.
#[test]
fn a_lock_of_the_standard_library_on_the_same_path_is_no_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    thread::scope(|scope| {
        for name in ["one", "two"] {
            let path = scratch.path(name);
            let lock = FileLock::open(&path).expect("opens");
            let file = std::fs::File::open(&path).expect("opens");
            file.lock().expect("locked");
            let release = move || {
                thread::sleep(Duration::from_millis(2500));
                file.unlock().expect("unlocks");
            };
            let want = move || lock.lock().map(drop).expect("no cycle");
            // In both roles: the thread that took the lock waits, or releases it.
            if name == "one" {
                scope.spawn(release);
                scope.spawn(want);
            } else {
                let waiter = scope.spawn(want);
                scope.spawn(move || {
                    release();
                    waiter.join().expect("no panic");
                });
            }
        }
    });
}

/// Shared requests do not wait for shared holders. They wait for an exclusive request in the queue
/// before them, which may give up.
#[test]
fn a_shared_request_behind_one_with_a_limit_is_no_cycle() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let (a, b) = (scratch.path("a"), scratch.path("b"));
    let (a, b) = (
        FileLock::open(a).expect("opens"),
        FileLock::open(b).expect("opens"),
    );
    let all = std::sync::Barrier::new(3);
    let (second, second_is) = mpsc::channel();
    let (third, third_is) = mpsc::channel();
    thread::scope(|scope| {
        let (a, b, all) = (&a, &b, &all);
        scope.spawn(move || {
            let _a = a.lock_shared().expect("locked");
            all.wait();
            // If the limit of the second is over before, the third need not wait.
            queue::wait_for_thread_or_end(third_is.recv().expect("told"));
            b.lock().map(drop).expect("no cycle");
        });
        scope.spawn(move || {
            all.wait();
            second.send(sys::thread_id()).expect("heard");
            let limit = Duration::from_millis(2500);
            assert!(a.try_lock_for(limit).is_err(), "shared by the first");
        });
        scope.spawn(move || {
            let _b = b.lock().expect("locked");
            all.wait();
            queue::wait_for_thread_or_end(second_is.recv().expect("told"));
            third.send(sys::thread_id()).expect("heard");
            a.lock_shared().map(drop).expect("no cycle");
        });
    });
}

#[test]
fn random_programs_that_go_on_get_no_error() {
    let _dog = watchdog::watch(600);
    let tally = run::many(CYCLES, true, 200, fastrand::u64(..1 << 40), 40);
    assert_eq!((tally.programs, tally.failures), (200, vec![]));
}

#[test]
fn random_programs_that_are_stuck_get_an_error() {
    let _dog = watchdog::watch(600);
    let tally = run::many(CYCLES, false, 40, fastrand::u64(..1 << 40), 10);
    assert_eq!((tally.programs, tally.failures), (40, vec![]));
}
