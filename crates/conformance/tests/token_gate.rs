//! A resource that refuses older tokens.

use std::fs;
use std::time::Duration;

use holdlock::{Error, LockOptions, Request, TokenGate};
use holdlock_conformance::{Actor, Scratch, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

#[test]
fn a_writer_whose_lock_has_passed_on_is_refused() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = LockOptions::new().record(true).open(scratch.lock());
    let lock = lock.expect("opens");
    let gate = TokenGate::open(scratch.path("data.gate")).expect("opens");
    let guard = lock.lock().expect("free");
    let ours = guard.token().expect("a token");
    for _ in 0..2 {
        drop(gate.pass(ours).expect("the newest holder"));
    }
    // The lock is lost without our knowledge.
    fs::remove_file(scratch.lock()).expect("removed");
    fs::write(scratch.lock(), "").expect("a new one");
    let mut other = Actor::start_with(ACTOR, &scratch.lock(), &["record"]);
    other.must("lock");
    let theirs = other.ask("token").parse().expect("a token");
    let same_gate = TokenGate::open(scratch.path("data.gate")).expect("opens");
    drop(same_gate.pass(theirs).expect("the newest holder"));
    match gate.pass(ours) {
        Err(Error::StaleToken { token, newest, .. }) => {
            assert_eq!((token, newest), (ours, theirs));
        }
        other => panic!("{other:?}"),
    }
    let error = gate.pass(ours).expect_err("stale");
    assert!(error.to_string().contains("do not write"), "{error}");
    assert!(error.to_string().contains("data.gate"), "{error}");
    drop(gate.pass(theirs).expect("still the newest"));
}

#[test]
fn one_writer_at_a_time_is_inside() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let gate = TokenGate::open(scratch.path("gate")).expect("opens");
    let inside = gate.pass(5).expect("the first");
    let soon = Request::exclusive().timeout(Duration::from_millis(20));
    let other = TokenGate::open(scratch.path("gate")).expect("opens");
    let late = std::thread::spawn(move || other.pass_with(6, soon).map(drop));
    let late = late.join().expect("no panic");
    assert!(matches!(late, Err(Error::TimedOut(_))), "{late:?}");
    drop(inside);
    drop(gate.pass(5).expect("the newest still"));
}

#[test]
fn a_file_that_is_no_gate_is_left_as_it_is() {
    let scratch = Scratch::new();
    for content in [
        "data",
        "holdlock token gate 1\ntoken: 7\n",
        "holdlock token gate 2\n",
    ] {
        fs::write(scratch.path("gate"), content).expect("written");
        let gate = TokenGate::open(scratch.path("gate")).expect("opens");
        let error = gate.pass(u64::MAX).expect_err("refused");
        assert!(matches!(error, Error::Record { .. }), "{error}");
        let left = fs::read_to_string(scratch.path("gate")).expect("read");
        assert_eq!(left, content);
    }
}

#[test]
fn a_file_that_keeps_nothing_is_no_gate() {
    let gate = TokenGate::open("/dev/null").expect("opens");
    let error = gate.pass(1).expect_err("refused").to_string();
    assert!(error.contains("it is not a regular file"), "{error}");
}
