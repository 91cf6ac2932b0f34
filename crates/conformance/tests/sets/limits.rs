//! One time limit and one token end the wait for all locks.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, LockOptions, LockSet, Request, Waiting};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

use crate::actors::{actor, is_free, open};

#[test]
fn one_time_limit_is_for_all_members() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let locks = ["a", "b"].map(|name| open(&scratch, name));
    let set = LockSet::new(&locks);
    let mut others = ["a", "b"].map(|name| actor(&scratch, name));
    others.iter_mut().for_each(|other| other.must("lock"));
    const LIMIT: Duration = Duration::from_secs(8);
    // Half of the time goes by while the set waits for the first one. A second limit for the other
    // one would add as much.
    let mut told = Vec::new();
    let began = Instant::now();
    let request = Request::exclusive().timeout(LIMIT).on_wait(|event| {
        if told == [Waiting::Began] {
            std::thread::sleep(LIMIT / 2);
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
    assert!((LIMIT..LIMIT * 145 / 100).contains(&took), "{took:?}");
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
