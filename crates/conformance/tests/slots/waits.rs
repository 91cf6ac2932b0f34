//! Waits for a slot: how they end, and what they leave.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, Request, Semaphore};
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

use crate::actors::{actor, actor_with, holders, must_queue, must_wait_at_head, slot, slot_in};

#[test]
fn waits_end_at_their_deadline_and_name_the_holders() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let holders = holders(&path, 2);
    let semaphore = Semaphore::open(&path, 2).expect("opens");
    for at_head in [true, false] {
        let mut head = actor(&path, 2);
        if !at_head {
            must_wait_at_head(&mut head, "lock", &path, 2);
        }
        let began = Instant::now();
        let limit = Duration::from_millis(50);
        let error = semaphore
            .try_lock_for(limit)
            .expect_err("all slots are taken");
        assert!((limit..Duration::from_secs(20)).contains(&began.elapsed()));
        let Error::TimedOut(conflict) = &error else {
            panic!("{error}");
        };
        assert_eq!(conflict.slots(), Some(2));
        let pids: Vec<u32> = conflict.holders().iter().map(|holder| holder.pid).collect();
        // The request at the head waits, and is no holder.
        let mut expected: Vec<u32> = holders.iter().map(Actor::pid).collect();
        expected.sort_unstable();
        let mut sorted = pids.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, expected);
        let said = error.to_string();
        assert!(
            said.contains("waiting for one of 2 slots; held by pid"),
            "{said}"
        );
    }
    let error = semaphore.try_lock().expect_err("all slots are taken");
    assert!(
        error
            .to_string()
            .contains("all 2 slots are taken; held by pid"),
        "{error}"
    );
}

#[test]
fn a_wait_that_ended_leaves_neither_threads_nor_locks() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 3);
    let mut waiter = actor(&path, 3);
    assert!(waiter.ask("for 5").starts_with("TimedOut"));
    let one_thread = |waiter: &mut Actor| {
        let seen = |answer: String| answer.split_once(' ').expect("two").0 == "1";
        let question = "threads-and-files";
        queue::eventually("all threads have ended", || seen(waiter.ask(question)));
        waiter.ask(question)
    };
    let before = one_thread(&mut waiter);
    for _ in 0..20 {
        assert!(waiter.ask("for 5").starts_with("TimedOut"));
        assert_eq!(queue::length(&path), 0);
    }
    assert_eq!(one_thread(&mut waiter), before);
    // The same where the wait has ended with a slot.
    must_wait_at_head(&mut waiter, "lock", &path, 3);
    holders[1].must("release");
    assert_eq!(slot_in(&waiter.answer()), 1);
    one_thread(&mut waiter);
    assert_eq!(queue::length(&path), 0);
    waiter.must("release");
    assert_eq!(slot(&mut holders[1], "lock"), 1);
    holders.iter_mut().for_each(|holder| holder.must("release"));
    let semaphore = Semaphore::open(&path, 3).expect("opens");
    let guards: Vec<_> = (0..3)
        .map(|_| semaphore.try_lock().expect("free"))
        .collect();
    let slots: Vec<u32> = guards.iter().map(|guard| guard.slot()).collect();
    assert_eq!(slots, [0, 1, 2]);
}

#[test]
fn a_token_ends_a_wait_at_the_head_and_behind_it() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 2);
    let semaphore = Semaphore::open(&path, 2).expect("opens");
    let token = CancelToken::new();
    thread::scope(|scope| {
        let wait = || {
            semaphore
                .acquire(Request::exclusive().cancel(&token))
                .map(drop)
        };
        let head = scope.spawn(wait);
        queue::eventually("the head waits", || queue::length(&path) == 2);
        let next = scope.spawn(wait);
        queue::eventually("the next one waits", || queue::length(&path) == 3);
        token.cancel();
        for waiter in [head, next] {
            let ended = waiter.join().expect("no panic");
            assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
        }
    });
    holders[0].must("release");
    drop(semaphore.try_lock().expect("no cancelled request has it"));
}

/// Many times a holder releases while the waiter is cancelled, or two holders release at once.
/// Whichever comes first, no slot is lost.
#[test]
fn no_slot_is_lost_when_a_wait_ends_at_the_same_moment() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 2).expect("opens");
    let within = Duration::from_secs(20);
    let began = Instant::now();
    for round in 0..2_000 {
        if began.elapsed() > Duration::from_secs(40) {
            break; // a busy machine
        }
        let one = semaphore.lock_owned().expect("free");
        let two = semaphore.lock_owned().expect("free");
        let token = CancelToken::new();
        thread::scope(|scope| {
            let wait = |_| ControlFlow::Continue(());
            let request = Request::exclusive().cancel(&token).on_wait(wait);
            let waiter = scope.spawn(|| semaphore.acquire_owned(request));
            queue::eventually("the waiter waits", || queue::length(semaphore.path()) > 0);
            match round % 4 {
                0 => {
                    scope.spawn(|| drop(one));
                    scope.spawn(|| drop(two));
                }
                1 => drop((one, two)),
                2 => {
                    scope.spawn(|| drop(one));
                    token.cancel();
                    drop(two);
                }
                _ => {
                    token.cancel();
                    drop((one, two));
                }
            }
            let ended = waiter.join().expect("no panic");
            // The waiter has one slot, and has given the other one back if it got both.
            match &ended {
                Ok(_) => drop(semaphore.try_lock_for(within).expect("the other slot")),
                Err(error) => assert!(matches!(error, Error::Cancelled { .. }), "{error}"),
            }
        });
        let both = [
            semaphore.try_lock_for(within),
            semaphore.try_lock_for(within),
        ];
        assert!(both.iter().all(Result::is_ok), "round {round}: {both:?}");
    }
}

#[test]
fn a_wait_does_not_poll() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let _holders = holders(&path, 3);
    let mut head = actor(&path, 3);
    must_wait_at_head(&mut head, "lock", &path, 3);
    let mut next = actor(&path, 3);
    must_queue(&mut next, "lock");
    // How often the threads of both have left the processor.
    let switches = |actor: &Actor| {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", actor.pid())).expect("threads");
        let of = |task: std::io::Result<std::fs::DirEntry>| {
            let status = task.expect("a thread").path().join("status");
            let status = std::fs::read_to_string(status).expect("readable");
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.expect("a line")
                .trim()
                .parse::<u64>()
                .expect("a number")
        };
        tasks.map(of).collect::<Vec<u64>>()
    };
    let both = || (switches(&head), switches(&next));
    // A thread that waits for a processor has not left it.
    let all_sleep = |actor: &Actor| {
        let mut tasks = std::fs::read_dir(format!("/proc/{}/task", actor.pid())).expect("threads");
        tasks.all(|task| {
            let stat = std::fs::read_to_string(task.expect("a thread").path().join("stat"));
            stat.is_ok_and(|stat| stat.contains(") S "))
        })
    };
    queue::eventually("all threads sleep", || {
        let before = both();
        all_sleep(&head)
            && all_sleep(&next)
            && sys::sleep(Duration::from_millis(30))
            && both() == before
    });
    let before = both();
    assert_eq!(before.0.len(), 4, "a thread for each slot");
    assert_eq!(before.1.len(), 1, "only the head has threads");
    sys::sleep(Duration::from_millis(300));
    assert_eq!(both(), before);
}

#[test]
fn without_signals_requests_still_end_and_are_served() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 2);
    let mut waiter = actor_with(&path, 2, &["no-signals"]);
    assert!(waiter.ask("for 30").starts_with("TimedOut"));
    waiter.tell("lock");
    holders[1].must("release");
    assert_eq!(slot_in(&waiter.answer()), 1);
    let status = std::fs::read_to_string(format!("/proc/{}/status", waiter.pid()));
    let status = status.expect("readable");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = u64::from_str_radix(caught.expect("a line").trim(), 16).expect("a set");
    assert_eq!(caught >> 33, 0, "a handler was installed");
}

#[test]
fn tasks_acquire_slots() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 1).expect("opens");
    let guard = block_on(semaphore.lock_async()).expect("free");
    assert_eq!(guard.slot(), 0);
    let late = semaphore.lock_async().timeout(Duration::from_millis(20));
    assert!(matches!(block_on(late), Err(Error::TimedOut(_))));
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| tell.send(block_on(semaphore.lock_async()).map(drop)));
        queue::eventually("the task waits", || queue::length(semaphore.path()) == 1);
        drop(guard);
        told.recv().expect("an answer").expect("its turn");
    });
}

/// Polls a future until it is ready.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = std::sync::Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        thread::park();
    }
}
