//! Waits for an upgrade: for which holders, before which requests, and how they end.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, Mode, Waiting};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

use crate::actors::{ACTOR, actor, forever, options, plain, wait_for_request};

#[test]
fn an_upgrade_waits_for_the_readers_alone_and_passes_writers_that_wait() {
    let _dog = watchdog::watch(60);
    for fair in [false, true] {
        let scratch = Scratch::new();
        let lock = options().fair(fair).open(scratch.lock()).expect("opens");
        let mut names = vec!["upgradeable"];
        names.extend(fair.then_some("fair"));
        let mut reader = Actor::start_with(ACTOR, &scratch.lock(), &names);
        let mut writers = [
            Actor::start_with(ACTOR, &scratch.lock(), &names),
            plain(&scratch),
        ];
        reader.must("lock-shared");
        let mut guard = lock.lock_upgradeable().expect("shared");
        for writer in &mut writers {
            writer.must_block("lock", &scratch.lock());
        }
        let waiting = writers.len();
        queue::eventually("each has a request", || {
            queue::length(&scratch.lock()) == waiting
        });
        let error = guard
            .upgrade(forever().try_once())
            .expect_err("a reader is there");
        assert!(matches!(error, Error::WouldBlock(_)), "{error}");
        std::thread::scope(|scope| {
            let (tell, told) = mpsc::channel();
            let (reader, path) = (&mut reader, scratch.lock());
            scope.spawn(move || {
                told.recv().expect("the upgrade begins");
                queue::eventually("the upgrade sleeps", || queue::length(&path) > waiting);
                reader.must("release");
            });
            let request = forever().on_wait(|_| {
                tell.send(()).expect("heard");
                ControlFlow::Continue(())
            });
            guard.upgrade(request).expect("upgraded");
        });
        assert_eq!(guard.mode(), Mode::Exclusive);
        // Both still wait. They get the lock one after the other.
        assert!(reader.ask("try-shared").starts_with("WouldBlock"));
        assert!(plain(&scratch).ask("try-shared").starts_with("WouldBlock"));
        queue::eventually("both still wait", || {
            queue::length(&scratch.lock()) == waiting
        });
        drop(guard);
        for writer in &mut writers {
            writer.tell("release");
        }
        let answers = writers.map(|mut writer| [writer.answer(), writer.answer()]);
        assert_eq!(answers.concat(), ["ok"; 4]);
    }
}

#[test]
fn readers_that_come_during_an_upgrade_wait_for_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let lock = options().fair(true).open(scratch.lock()).expect("opens");
    let with = ["upgradeable", "fair"];
    let mut reader = Actor::start_with(ACTOR, &scratch.lock(), &with);
    let mut late = Actor::start_with(ACTOR, &scratch.lock(), &with);
    reader.must("lock-shared");
    let mut guard = lock.lock_upgradeable().expect("shared");
    let path = scratch.lock();
    let mut asked = false;
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (reader, late, path) = (&mut reader, &mut late, &path);
        scope.spawn(move || {
            told.recv().expect("the upgrade begins");
            wait_for_request(path);
            late.tell("lock-shared");
            queue::eventually("the late reader sleeps", || queue::length(path) > 1);
            reader.must("release");
        });
        let request = forever().on_wait(|event| {
            if event == Waiting::Began {
                tell.send(()).expect("heard");
                asked = true;
            }
            ControlFlow::Continue(())
        });
        guard.upgrade(request).expect("upgraded");
    });
    assert!(asked);
    assert_eq!(guard.mode(), Mode::Exclusive);
    // It comes in with the downgrade, which keeps the right.
    guard.downgrade().expect("downgraded");
    assert_eq!(late.answer(), "ok");
    assert!(reader.ask("try-upgradeable").starts_with("WouldBlock"));
    assert!(reader.ask("try").starts_with("WouldBlock"));
    late.must("release");
    guard.upgrade(forever().try_once()).expect("upgraded again");
    drop(guard);
    reader.must("try");
}

#[test]
fn an_upgrade_that_ends_early_still_shares_the_lock() {
    let _dog = watchdog::watch(60);
    for signals in [true, false] {
        let scratch = Scratch::new();
        let lock = options()
            .signals(signals)
            .open(scratch.lock())
            .expect("opens");
        let (mut reader, mut writer) = (actor(&scratch), plain(&scratch));
        reader.must("lock-shared");
        let mut guard = lock.lock_upgradeable().expect("shared");
        let still_shares = |writer: &mut Actor, other: &mut Actor| {
            assert!(writer.ask("try").starts_with("WouldBlock"));
            other.must("try-shared");
            other.must("release");
            assert!(other.ask("try-upgradeable").starts_with("WouldBlock"));
        };
        let mut other = actor(&scratch);
        let began = Instant::now();
        let limit = Duration::from_millis(50);
        let error = guard
            .upgrade(forever().timeout(limit))
            .expect_err("a reader is there");
        assert!(matches!(error, Error::TimedOut(_)), "{error}");
        assert!(began.elapsed() >= limit);
        let holders = error.conflict().expect("a conflict").holders();
        assert!(
            holders.iter().any(|holder| holder.pid == reader.pid()),
            "{error}"
        );
        still_shares(&mut writer, &mut other);
        let token = CancelToken::new();
        std::thread::scope(|scope| {
            let path = scratch.lock();
            let token = &token;
            scope.spawn(move || {
                if signals {
                    wait_for_request(&path);
                }
                token.cancel();
            });
            let error = guard
                .upgrade(forever().cancel(token))
                .expect_err("cancelled");
            assert!(matches!(error, Error::Cancelled { .. }), "{error}");
        });
        still_shares(&mut writer, &mut other);
        assert_eq!(guard.mode(), Mode::Shared);
        reader.must("release");
        guard.upgrade(forever()).expect("upgraded");
        drop(guard);
        writer.must("try");
    }
}
