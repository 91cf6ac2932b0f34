//! Waits of a set that can never end are errors.

use std::process::Command;

use holdlock::{Error, LockSet};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

use crate::actors::{ACTOR, is_free, open};

#[test]
fn a_lock_that_this_thread_holds_is_a_deadlock_and_the_rest_stays_free() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let locks = ["a", "b"].map(|name| open(&scratch, name));
    let set = LockSet::new(&locks);
    for held in 0..2 {
        let _guard = locks[held].lock().expect("free");
        let error = set.lock().expect_err("held by this thread");
        assert!(matches!(error, Error::Deadlock { .. }), "{error}");
        assert_eq!(error.path(), locks[held].path());
        is_free(&mut Actor::start(ACTOR, locks[1 - held].path()));
    }
}

/// The set holds nothing, but this process holds another lock beside it.
#[test]
fn a_set_that_closes_a_cycle_by_another_lock_is_a_deadlock() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let locks = ["a", "b"].map(|name| open(&scratch, name));
    let held = open(&scratch, "held");
    let mut command = Command::new(env!("CARGO_BIN_EXE_many"));
    command.args([locks[1].path(), held.path()]);
    let mut other = Actor::from_command(command);
    other.must("lock 0");
    let guard = held.lock().expect("free");
    other.tell("lock 1");
    queue::wait_for(held.path(), other.pid());
    let set = LockSet::new(&locks);
    std::thread::scope(|scope| {
        let ended = scope.spawn(|| other.answer());
        let acquired = set.lock();
        drop(guard);
        let answer = ended.join().expect("no panic");
        match acquired {
            Ok(_) => assert!(answer.starts_with("Deadlock"), "{answer}"),
            Err(error) => assert!(matches!(error, Error::Deadlock { .. }), "{error}"),
        }
    });
}
