//! Several names of one file, and one name of several files.

use holdlock::{Family, FileLock, LockOptions, LockSet, Mode};
use holdlock_conformance::{Actor, Scratch, hot, watchdog};

use crate::actors::{ACTOR, actor, is_free, is_held, open};

#[test]
fn members_that_are_one_file_are_acquired_once_in_the_stronger_mode() {
    let _dog = watchdog::watch(60);
    use Mode::{Exclusive, Shared};
    for modes in [
        [Shared, Exclusive],
        [Exclusive, Shared],
        [Shared, Shared],
        [Exclusive; 2],
    ] {
        for linked_before in [true, false] {
            let scratch = Scratch::new();
            let link = || std::fs::hard_link(scratch.path("a"), scratch.path("b")).expect("linked");
            let a = open(&scratch, "a");
            let b = if linked_before {
                link();
                open(&scratch, "b")
            } else {
                // The set knows another file by this name until it acquires it.
                let b = open(&scratch, "b");
                hot(&b);
                std::fs::remove_file(scratch.path("b")).expect("removed");
                link();
                b
            };
            let again = open(&scratch, "a");
            let free = open(&scratch, "free");
            let mut other = actor(&scratch, "a");
            let set = LockSet::new([
                (&a, modes[0]),
                (&free, Exclusive),
                (&b, modes[1]),
                (&again, Shared),
                (&a, Shared),
            ]);
            let guard = set.try_lock().expect("free");
            let strongest = if modes == [Shared; 2] {
                Shared
            } else {
                Exclusive
            };
            let said = if strongest == Shared {
                "ok"
            } else {
                "WouldBlock"
            };
            assert!(other.ask("try-shared").starts_with(said), "{modes:?}");
            for member in [0, 2, 3, 4] {
                assert_eq!(guard[member].mode(), strongest, "{modes:?} {member}");
            }
            if strongest == Exclusive || linked_before {
                assert_eq!(guard.guards().len(), 2, "{modes:?} {linked_before}");
            }
            drop(guard);
            if said == "ok" {
                other.must("release");
            }
            is_free(&mut other);
        }
    }
}

/// One of two names leads to another file, but both locks still have the one file open.
#[test]
fn names_that_are_no_longer_one_file_are_two_locks() {
    for moved in ["a", "b"] {
        let scratch = Scratch::new();
        let a = open(&scratch, "a");
        std::fs::hard_link(scratch.path("a"), scratch.path("b")).expect("linked");
        let b = open(&scratch, "b");
        hot(&a);
        hot(&b);
        std::fs::remove_file(scratch.path(moved)).expect("removed");
        std::fs::write(scratch.path(moved), "").expect("made anew");
        let set = LockSet::new([a, b]);
        let guard = set.try_lock().expect("free");
        assert_eq!(guard.guards().len(), 2);
        is_held(&mut actor(&scratch, "a"));
        is_held(&mut actor(&scratch, "b"));
    }
}

#[test]
fn the_two_families_are_two_locks_of_one_file() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    let ofd = LockOptions::new().family(Family::Ofd);
    let set = LockSet::new([
        FileLock::open(&path).expect("opens"),
        ofd.open(&path).expect("opens"),
    ]);
    let guard = set.try_lock().expect("free");
    assert_eq!(guard.guards().len(), 2);
    is_held(&mut Actor::start(ACTOR, &path));
    is_held(&mut Actor::start_with(ACTOR, &path, &["ofd"]));
}
