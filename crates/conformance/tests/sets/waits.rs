//! A set that waits holds nothing.

use std::process::Command;

use holdlock::{FileLock, LockOptions, LockSet, Request};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

use crate::actors::{ACTOR, actor, is_free, is_held, open};

/// Whichever is busy: no other process has to wait for a lock of a set that waits.
#[test]
fn a_set_that_waits_holds_nothing() {
    let _dog = watchdog::watch(60);
    for fair in [false, true] {
        for busy in 0..2 {
            let scratch = Scratch::new();
            let options = LockOptions::new().fair(fair);
            let locks = ["a", "b"].map(|name| options.open(scratch.path(name)).expect("opens"));
            let mut others = ["a", "b"].map(|name| actor(&scratch, name));
            let set = LockSet::new(&locks);
            others[busy].must("lock");
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| set.lock().expect("acquired").release());
                queue::wait_for(locks[busy].path(), std::process::id());
                // Now the other one turns out to be busy as well: then the set waits for that one.
                is_free(&mut others[1 - busy]);
                others[1 - busy].must("lock");
                others[busy].must("release");
                queue::wait_for(locks[1 - busy].path(), std::process::id());
                is_free(&mut others[busy]);
                others[1 - busy].must("release");
                waiting.join().expect("no panic").expect("released");
            });
        }
    }
}

#[test]
fn a_holder_of_one_lock_that_wants_the_other_is_served_and_not_a_deadlock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let locks = ["a", "b"].map(|name| open(&scratch, name));
    let set = LockSet::new(&locks);
    for busy in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_many"));
        command.args(locks.iter().map(FileLock::path));
        let mut other = Actor::from_command(command);
        other.must(&format!("lock {busy}"));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| set.lock().expect("acquired").release());
            queue::wait_for(locks[busy].path(), std::process::id());
            other.must(&format!("lock {}", 1 - busy));
            other.must(&format!("release {}", 1 - busy));
            other.must(&format!("release {busy}"));
            waiting.join().expect("no panic").expect("released");
        });
    }
}

#[test]
fn a_file_that_is_replaced_during_the_wait_is_noticed() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let locks = ["a", "b"].map(|name| open(&scratch, name));
    let set = LockSet::new(&locks);
    let mut other = actor(&scratch, "b");
    other.must("lock");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let guard = set.lock().expect("acquired");
            is_held(&mut actor(&scratch, "b"));
            assert!(guard[1].is_current().expect("looked at"));
        });
        queue::wait_for(&scratch.path("b"), std::process::id());
        std::fs::rename(scratch.path("b"), scratch.path("old")).expect("renamed");
        std::fs::write(scratch.path("b"), "").expect("made anew");
        other.must("release");
        waiting.join().expect("no panic");
    });
}

/// A set that gives a lock back has not seen what the last holder left.
#[test]
fn only_a_set_that_has_all_its_locks_hears_of_a_holder_that_died() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let options = LockOptions::new().record(true);
    let locks = ["a", "b"].map(|name| options.open(scratch.path(name)).expect("opens"));
    let set = LockSet::new(&locks);
    for busy in 0..2 {
        let mut died = Actor::start_with(ACTOR, locks[1 - busy].path(), &["record"]);
        died.must("lock");
        died.kill();
        let mut other = Actor::start_with(ACTOR, locks[busy].path(), &["record"]);
        other.must("lock");
        assert!(set.try_lock().is_err(), "one is held");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let guard = set
                    .acquire(Request::exclusive().note("moves"))
                    .expect("acquired");
                let abandoned = |member: usize| guard[member].abandoned().is_some();
                assert_eq!((abandoned(1 - busy), abandoned(busy)), (true, false));
                assert!(guard[0].token().is_some() && guard[1].token().is_some());
            });
            queue::wait_for(locks[busy].path(), std::process::id());
            other.must("release");
            waiting.join().expect("no panic");
        });
    }
}
