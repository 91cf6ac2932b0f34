//! Several locks at once: all or none, and no set waits while it holds a lock.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use holdlock::{
    CancelToken, Error, Family, FileLock, LockOptions, LockSet, Mode, Request, Waiting,
};
use holdlock_conformance::witness::Witness;
use holdlock_conformance::{Actor, Scratch, hot, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

fn open(scratch: &Scratch, name: &str) -> FileLock {
    FileLock::open(scratch.path(name)).expect("opens")
}

/// An actor that can try the lock on this file.
fn actor(scratch: &Scratch, name: &str) -> Actor {
    Actor::start(ACTOR, &scratch.path(name))
}

/// Nobody else holds the lock.
#[track_caller]
fn is_free(actor: &mut Actor) {
    actor.must("try");
    actor.must("release");
}

#[track_caller]
fn is_held(actor: &mut Actor) {
    assert!(actor.ask("try").starts_with("WouldBlock"));
}

#[test]
fn all_are_acquired_or_none() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let locks = ["a", "b", "c"].map(|name| open(&scratch, name));
    let mut others = ["a", "b", "c"].map(|name| actor(&scratch, name));
    let set = LockSet::new(&locks);
    for busy in 0..3 {
        others[busy].must("lock");
        let error = set.try_lock().expect_err("one is held");
        assert!(matches!(error, Error::WouldBlock(_)), "{error}");
        let conflict = error.conflict().expect("a conflict");
        assert_eq!(conflict.path(), locks[busy].path());
        assert_eq!(conflict.holders()[0].pid, others[busy].pid());
        others[busy].must("release");
        others.iter_mut().for_each(is_free);
    }
    let guard = set.try_lock().expect("all are free");
    others.iter_mut().for_each(is_held);
    for (number, lock) in locks.iter().enumerate() {
        assert_eq!(guard[number].path(), lock.path());
    }
    assert!(guard.get(3).is_none());
    guard.release().expect("released");
    others.iter_mut().for_each(is_free);
    assert!(
        LockSet::new::<FileLock>([])
            .lock()
            .expect("at once")
            .guards()
            .is_empty()
    );
}

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
fn eight_processes_with_overlapping_sets_make_progress() {
    let _dog = watchdog::watch(300);
    const LOCKS: u64 = 12;
    const TIMES: u64 = 200;
    let times = [false, true].map(|fair| {
        let scratch = Scratch::new();
        let mut crowd: Vec<Actor> = (0..8)
            .map(|seed| {
                let mut command = Command::new(env!("CARGO_BIN_EXE_sets"));
                command.arg(scratch.path("."));
                command.args([&LOCKS.to_string(), &format!("{seed}"), "times"]);
                command.arg(TIMES.to_string());
                command.args(fair.then_some("fair"));
                Actor::from_command(command)
            })
            .collect();
        let began = Instant::now();
        for actor in &mut crowd {
            actor.tell("go");
        }
        for actor in &mut crowd {
            let answer = actor.answer();
            let (times, longest) = answer.split_once(' ').expect("two numbers");
            assert_eq!(times, TIMES.to_string());
            // Measured: 0.1 s on two processors, 1 s beside eight busy loops.
            let longest: u64 = longest.parse().expect("microseconds");
            assert!(longest < 60_000_000, "{longest} µs");
        }
        let took = began.elapsed();
        for number in 0..LOCKS {
            let witness = Witness::open(&scratch.path(&format!("{number}.witness")));
            assert_eq!(witness.overlaps(), 0);
            assert!(witness.acquisitions() > 0);
        }
        took
    });
    // Measured: two or three times as long (0.3 s and 1 s on a busy machine). If a set waits for
    // its turn at each member: a hundred times as long.
    let most = times[0].max(Duration::from_secs(1)) * 20;
    assert!(times[1] < most, "fair locks are slow: {times:?}");
}

#[test]
fn threads_with_overlapping_sets_make_progress() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let locks = ["a", "b", "c", "d"].map(|name| open(&scratch, name));
    let inside = ["a", "b", "c", "d"].map(|_| AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (locks, inside) = (&locks, &inside);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                for _ in 0..500 {
                    let mut chosen = [0, 1, 2, 3];
                    random.shuffle(&mut chosen);
                    let chosen = &chosen[..random.usize(1..=4)];
                    let set: LockSet = chosen.iter().map(|number| &locks[*number]).collect();
                    let guard = set.acquire_owned(Request::exclusive()).expect("acquired");
                    for number in chosen {
                        assert_eq!(inside[*number].swap(1, Ordering::SeqCst), 0);
                    }
                    for number in chosen {
                        inside[*number].store(0, Ordering::SeqCst);
                    }
                    drop(guard);
                }
            });
        }
    });
}

#[test]
fn one_time_limit_is_for_all_members() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let locks = ["a", "b"].map(|name| open(&scratch, name));
    let set = LockSet::new(&locks);
    let mut others = ["a", "b"].map(|name| actor(&scratch, name));
    others.iter_mut().for_each(|other| other.must("lock"));
    const LIMIT: Duration = Duration::from_secs(1);
    // Nearly all the time goes by while the set waits for the first one. A second limit for the
    // other one would nearly double it.
    let mut told = Vec::new();
    let began = Instant::now();
    let request = Request::exclusive().timeout(LIMIT).on_wait(|event| {
        if told == [Waiting::Began] {
            std::thread::sleep(LIMIT * 9 / 10);
            let Waiting::For(first) = event else {
                panic!("{event:?}");
            };
            others[first].must("release");
        }
        told.push(event);
        ControlFlow::Continue(())
    });
    let error = set
        .acquire(request)
        .expect_err("the other one is still held");
    let took = began.elapsed();
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    let [Waiting::Began, Waiting::For(first), Waiting::For(second)] = told[..] else {
        panic!("{told:?}");
    };
    assert_eq!(first + second, 1);
    let conflict = error.conflict().expect("a conflict");
    assert_eq!(conflict.path(), locks[second].path());
    assert_eq!(conflict.holders()[0].pid, others[second].pid());
    assert!(conflict.waited() >= LIMIT, "{:?}", conflict.waited());
    assert!((LIMIT..LIMIT * 18 / 10).contains(&took), "{took:?}");
    is_free(&mut others[first]);
}

/// There is always another member that is busy, so that the set never sleeps for long.
#[test]
fn a_time_limit_ends_a_set_that_never_sleeps_long() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let locks = ["a", "b"].map(|name| open(&scratch, name));
    let set = LockSet::new(&locks);
    let mut others = ["a", "b"].map(|name| actor(&scratch, name));
    others[0].must("lock");
    // The callback makes the other one busy and frees the one for which the set is about to sleep.
    let limit = Duration::from_millis(100);
    let swap = |event: Waiting, others: &mut [Actor; 2]| {
        if let Waiting::For(number) = event {
            others[1 - number].must("lock");
            others[number].must("release");
        }
        ControlFlow::Continue(())
    };
    let request = Request::exclusive().timeout(limit);
    let request = request.on_wait(|event| swap(event, &mut others));
    let error = set.acquire(request).expect_err("one is always held");
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    let token = CancelToken::new();
    let mut left = 5;
    let request = Request::exclusive().cancel(&token).on_wait(|event| {
        left -= 1;
        if left == 0 {
            token.cancel();
        }
        swap(event, &mut others)
    });
    let error = set.acquire(request).expect_err("one is always held");
    assert!(matches!(error, Error::Cancelled { .. }), "{error}");
}

#[test]
fn a_cancelled_set_holds_nothing() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let locks = ["a", "b"].map(|name| open(&scratch, name));
    let set = LockSet::new(&locks);
    let mut others = ["a", "b"].map(|name| actor(&scratch, name));
    for busy in 0..2 {
        others[busy].must("lock");
        let token = CancelToken::new();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let request = Request::exclusive().cancel(&token);
                set.acquire(request).expect_err("held")
            });
            queue::wait_for(locks[busy].path(), std::process::id());
            token.cancel();
            let error = waiting.join().expect("no panic");
            assert!(matches!(error, Error::Cancelled { .. }), "{error}");
            assert_eq!(error.path(), locks[busy].path());
        });
        others[busy].must("release");
        others.iter_mut().for_each(is_free);
    }
}

#[test]
fn a_set_without_signals_keeps_its_limit() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let options = LockOptions::new().signals(false);
    let locks = ["a", "b"].map(|name| options.open(scratch.path(name)).expect("opens"));
    let set = LockSet::new(&locks);
    let mut other = actor(&scratch, "b");
    other.must("lock");
    let error = set
        .try_lock_for(Duration::from_millis(50))
        .expect_err("held");
    assert!(matches!(error, Error::TimedOut(_)), "{error}");
    is_free(&mut actor(&scratch, "a"));
    other.must("release");
    set.try_lock_for(Duration::from_secs(60))
        .expect("free")
        .release()
        .expect("released");
}

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

#[test]
fn a_release_reports_the_first_error_and_releases_the_rest() {
    let scratch = Scratch::new();
    let locks = ["a", "b", "c"].map(|name| open(&scratch, name));
    let guard = LockSet::new(&locks).lock().expect("free").release();
    guard.expect("released");
    let set = LockSet::new(&locks);
    let guard = set.lock().expect("free");
    sys::close(guard[1].as_fd().as_raw_fd());
    let error = guard.release().expect_err("a stranger has closed it");
    assert_eq!(error.path(), locks[1].path());
    for lock in &locks {
        is_free(&mut Actor::start(ACTOR, Path::new(lock.path())));
    }
}
