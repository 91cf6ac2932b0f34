//! Fair locks: requests are served in the order in which they arrive.

use std::path::Path;
use std::process::Command;
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use holdlock::inspect::{self, Kind};
use holdlock::{Error, Family, FileLock, LockOptions, Mode};
use holdlock_conformance::{Actor, Scratch, queue, skipped, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");
const STRANGER: &str = env!("CARGO_BIN_EXE_stranger");

fn fair(path: &Path) -> FileLock {
    LockOptions::new().fair(true).open(path).expect("opened")
}

fn actor(path: &Path) -> Actor {
    Actor::start_with(ACTOR, path, &["fair"])
}

/// Gives an order, which puts the actor to sleep at the lock or behind a waiter.
#[track_caller]
fn must_queue(actor: &mut Actor, order: &str) {
    actor.tell(order);
    sys::wait_until_queued(actor.pid(), &[libc::SYS_flock, libc::SYS_fcntl]);
}

#[test]
fn a_process_that_has_just_released_does_not_pass_a_waiter() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = fair(&path);
    let mut other = actor(&path);
    for round in 0..100 {
        let guard = lock.lock().expect("free");
        must_queue(&mut other, "lock");
        guard.release().expect("released");
        let again = lock.try_lock();
        assert!(matches!(again, Err(Error::WouldBlock(_))), "{round}");
        assert_eq!(other.answer(), "ok");
        other.must("release");
    }
}

#[test]
fn no_thread_passes_a_process_that_came_before_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = fair(&path);
    let mut other = actor(&path);
    thread::scope(|scope| {
        for round in 0..20 {
            let guard = lock.lock().expect("free");
            must_queue(&mut other, "lock");
            let (name, named) = mpsc::channel();
            let (tell, told) = mpsc::channel();
            let lock = &lock;
            scope.spawn(move || {
                name.send(sys::thread_id()).expect("heard");
                let guard = lock.lock().expect("its turn");
                tell.send(()).expect("heard");
                guard.release().expect("released");
            });
            queue::wait_for_thread(named.recv().expect("named"));
            guard.release().expect("released");
            assert_eq!(other.answer(), "ok");
            assert!(told.try_recv().is_err(), "{round}");
            other.must("release");
            told.recv().expect("its turn has come");
        }
    });
}

#[test]
fn shared_requests_do_not_pass_an_exclusive_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut reader = actor(&path);
    reader.must("lock-shared");
    let mut writer = actor(&path);
    must_queue(&mut writer, "lock");
    let mut late = actor(&path);
    assert!(late.ask("try-shared").starts_with("WouldBlock"));
    must_queue(&mut late, "lock-shared");
    reader.must("release");
    assert_eq!(writer.answer(), "ok");
    queue::eventually("the late one waits", || queue::length(&path) == 1);
    writer.must("release");
    assert_eq!(late.answer(), "ok");
}

#[test]
fn threads_that_share_one_lock_do_not_pass_an_exclusive_request() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = fair(&path);
    let reader = lock.lock_shared().expect("free");
    let mut writer = actor(&path);
    must_queue(&mut writer, "lock");
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let late = scope.spawn(|| {
            let turned_back = lock.try_lock_shared().is_err();
            tell.send(turned_back).expect("somebody listens");
            lock.lock_shared().map(drop)
        });
        assert!(told.recv().expect("it tries"));
        // The thread that is inside may take another shared lock: the writer waits for it anyway.
        drop(lock.lock_shared().expect("its own"));
        drop(reader);
        assert_eq!(writer.answer(), "ok");
        assert!(!late.is_finished());
        writer.must("release");
        late.join().expect("no panic").expect("its turn");
    });
}

/// How many of 300 shared tries of three threads fail.
fn turned_back(path: &Path) -> usize {
    let start = Barrier::new(3);
    let tries = || {
        let lock = fair(path);
        start.wait();
        let turned_back = (0..100).filter(|_| {
            let began = Instant::now();
            let is_turned_back = lock.try_lock_shared().is_err();
            let looked_for = began.elapsed();
            // All its looks take at least a millisecond.
            let has_looked = looked_for >= Duration::from_millis(1);
            assert!(!is_turned_back || has_looked, "after {looked_for:?}");
            is_turned_back
        });
        turned_back.count()
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(tries)).collect();
        let counts = threads.into_iter().map(|thread| thread.join());
        counts.map(|count| count.expect("no panic")).sum()
    })
}

#[test]
fn shared_tries_do_not_fail_because_of_one_another() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let path = scratch.lock();
    // If the scheduler stops a try in the very middle, it looks like a waiter. On a busy machine
    // that happens to many tries, but seldom in every round.
    let began = Instant::now();
    let (mut rounds, mut least) = (0, usize::MAX);
    while rounds < 50 || least > 3 {
        if began.elapsed() > Duration::from_secs(60) {
            return skipped("the machine is too busy");
        }
        least = least.min(turned_back(&path));
        rounds += 1;
    }
}

#[test]
fn requests_are_served_in_the_order_of_arrival() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = actor(&path);
    holder.must("lock");
    let orders = ["lock", "lock-shared", "lock-shared", "lock", "lock-shared"];
    let mut queue: Vec<Actor> = Vec::new();
    for order in orders {
        let mut next = actor(&path);
        must_queue(&mut next, order);
        queue.push(next);
    }
    // Inspection shows the same order, and hides how it is done.
    let file = inspect::file(&path).expect("readable").files.remove(0);
    assert!(!file.mixes_families(), "{file:#?}");
    assert_eq!(file.locks.len(), 1);
    let seen: Vec<_> = file.waiters.iter().map(|it| (it.kind, it.mode)).collect();
    use Mode::{Exclusive as E, Shared as S};
    assert_eq!(seen, [E, S, S, E, S].map(|mode| (Kind::Flock, mode)));
    let turns: Vec<u32> = file.waiters.iter().map(|waiter| waiter.turn).collect();
    assert!(turns.is_sorted() && turns[0] == 1, "{turns:?}");
    let first = file.waiters[0].process.as_ref().expect("it is there");
    assert_eq!(first.pid, queue[0].pid());
    holder.must("release");
    let [first, two, three, four, five] = &mut queue[..] else {
        unreachable!("five");
    };
    assert_eq!(first.answer(), "ok");
    first.must("release");
    assert_eq!(two.answer(), "ok");
    assert_eq!(three.answer(), "ok");
    two.must("release");
    three.must("release");
    assert_eq!(four.answer(), "ok");
    four.must("release");
    assert_eq!(five.answer(), "ok");
}

#[test]
fn the_queue_continues_without_requests_that_leave_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = actor(&path);
    holder.must("lock");
    let mut impatient = actor(&path);
    must_queue(&mut impatient, "for 6000");
    let mut killed = actor(&path);
    must_queue(&mut killed, "lock");
    let mut hurried = actor(&path);
    must_queue(&mut hurried, "for 6000");
    let mut last = actor(&path);
    must_queue(&mut last, "lock");
    for actor in [&mut impatient, &mut hurried] {
        assert!(actor.answer().starts_with("TimedOut"));
    }
    killed.kill();
    queue::eventually("one waits", || queue::length(&path) == 1);
    holder.must("release");
    assert_eq!(last.answer(), "ok");
    last.must("release");
    assert_eq!(inspect::file(&path).expect("readable").files, []);
}

#[test]
fn a_thread_that_shares_the_lock_may_take_it_again_before_its_turn() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let (one, two) = (fair(&path), fair(&path));
    let guard = one.lock_shared().expect("free");
    let mut writer = actor(&path);
    must_queue(&mut writer, "lock");
    let joined = one.lock_shared().expect("shared");
    let beside = two.lock_shared().expect("shared");
    assert!(matches!(two.try_lock(), Err(Error::WouldBlock(_))));
    drop((guard, joined, beside));
    assert_eq!(writer.answer(), "ok");
}

#[test]
fn a_thread_that_waits_for_itself_is_told() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let (one, two) = (fair(&path), fair(&path));
    let _guard = one.lock().expect("free");
    let mut other = actor(&path);
    must_queue(&mut other, "lock");
    for request in [two.lock(), two.lock_shared(), one.lock()] {
        assert!(matches!(request, Err(Error::Deadlock { .. })));
    }
}

#[test]
fn a_program_that_does_not_queue_is_still_excluded() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let plain = FileLock::open(&path).expect("opened");
    let fair = fair(&path);
    let guard = fair.lock().expect("free");
    assert!(plain.try_lock().is_err());
    drop(guard);
    let guard = plain.lock().expect("free");
    let late = fair.try_lock_for(Duration::from_millis(20));
    assert!(matches!(
        late,
        Err(Error::Deadlock { .. } | Error::TimedOut(_))
    ));
    drop(guard);
    drop(fair.lock().expect("free"));
}

#[test]
fn a_program_that_locks_the_whole_file_by_both_calls_is_not_kept_out_by_a_waiter() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    for call in ["posix", "ofd"] {
        let mut command = Command::new(STRANGER);
        command.arg(&path);
        let mut mail = Actor::from_command(command);
        mail.must("flock 0 ex");
        let (mut first, mut second) = (actor(&path), actor(&path));
        must_queue(&mut first, "lock");
        must_queue(&mut second, "for 60000");
        // The first request has the place at the head, which is on bytes of the whole file.
        mail.must(&format!("{call} 0 ex"));
        mail.must(&format!("{call} 0 un"));
        mail.must("flock 0 un");
        assert_eq!(first.answer(), "ok");
        first.must("release");
        assert_eq!(second.answer(), "ok");
        second.must("release");
    }
}

#[test]
fn a_request_that_has_waited_long_is_not_passed_either() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let lock = fair(&path);
    let guard = lock.lock().expect("free");
    let mut other = actor(&path);
    must_queue(&mut other, "lock");
    // By then it has checked more than once whether it is in the way of another program.
    thread::sleep(Duration::from_millis(500));
    guard.release().expect("released");
    let again = lock.try_lock();
    assert!(matches!(again, Err(Error::WouldBlock(_))));
    assert_eq!(other.answer(), "ok");
    other.must("release");
}

#[test]
fn what_cannot_be_fair_is_an_error() {
    let scratch = Scratch::new();
    let options = LockOptions::new().fair(true).family(Family::Ofd);
    let error = options.open(scratch.lock()).expect_err("no flock");
    assert!(error.to_string().contains("flock(2)"), "{error}");
}
