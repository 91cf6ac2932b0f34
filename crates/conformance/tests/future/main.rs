//! Locks in asynchronous code: a free lock needs no thread, and a dropped future leaves no lock.

mod queue_of_tasks;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, LockOptions, LockSet, OwnedGuard, Request};
use holdlock_conformance::{Actor, Scratch, queue, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_holdlock-actor");

/// The smallest runtime: sleeps until it is woken, and counts how often that happens.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn waker() -> Waker {
    Arc::new(Unpark(std::thread::current())).into()
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = waker();
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(&waker()))
}

fn open(scratch: &Scratch) -> FileLock {
    FileLock::open(scratch.lock()).expect("opens")
}

fn waiting_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
    let names = tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("comm")));
    names
        .filter(|name| {
            name.as_ref()
                .is_ok_and(|name| name.starts_with("holdlock-async"))
        })
        .count()
}

#[test]
fn futures_wait_are_cancelled_and_time_out() {
    // One after another, because the tests count the threads of this process.
    let _dog = watchdog::watch(120);
    a_free_lock_takes_no_thread();
    a_task_is_woken_when_the_lock_is_released();
    a_dropped_future_leaves_the_queue();
    a_dropped_future_leaves_no_lock_behind();
    a_cancelled_wait_is_seen_through();
    a_token_of_the_callers_ends_the_wait();
    a_limit_is_kept_and_the_error_names_the_holder();
    many_tasks_get_the_lock_one_after_another();
    queue_of_tasks::a_thousand_tasks_share_a_thread_and_a_descriptor();
    queue_of_tasks::queued_tasks_end_by_their_limits_and_tokens();
    queue_of_tasks::a_dropped_task_passes_its_place_on();
    queue_of_tasks::dropped_tasks_leave_nothing_in_the_queue();
    queue_of_tasks::threads_and_tasks_are_served_in_their_order();
    queue_of_tasks::a_shared_task_joins_holders_that_came_meanwhile();
    queue_of_tasks::a_task_that_joined_holders_of_a_removed_file_queues_anew();
    a_set_and_the_right_to_upgrade_are_awaited();
}

#[test]
fn random_programs_of_tasks_and_threads_end_and_exclude() {
    let _dog = watchdog::watch(300);
    let scratch = Scratch::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tasks"));
    let status = command.arg(scratch.lock()).arg("40").status();
    assert!(status.expect("runs").success());
}

fn a_free_lock_takes_no_thread() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut first = lock.lock_async();
    let Poll::Ready(Ok(guard)) = poll_once(&mut first) else {
        panic!("the lock is free");
    };
    assert_eq!(waiting_threads(), 0);
    let refused = block_on(lock.lock_async().timeout(Duration::ZERO));
    assert!(matches!(refused, Err(Error::TimedOut(_))), "{refused:?}");
    let refused = block_on(lock.acquire_async(Request::shared().try_once()));
    assert!(matches!(refused, Err(Error::WouldBlock(_))), "{refused:?}");
    assert_eq!(waiting_threads(), 0);
    drop(guard);
    let one = block_on(lock.lock_shared_async()).expect("free");
    let two = block_on(lock.lock_shared_async()).expect("shared");
    drop((one, two));
}

fn a_task_is_woken_when_the_lock_is_released() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut holder = Actor::holding(ACTOR, lock.path());
    let mut future = lock.lock_async();
    assert!(poll_once(&mut future).is_pending());
    queue::wait_for(lock.path(), std::process::id());
    holder.must("release");
    let guard: OwnedGuard = block_on(future).expect("released");
    assert!(holder.ask("try").starts_with("WouldBlock"));
    guard.release().expect("released");
    holder.must("try");
}

fn a_token_of_the_callers_ends_the_wait() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let _holder = Actor::holding(ACTOR, lock.path());
    let token = CancelToken::new();
    // One before its wait, one in it.
    for cancelled_first in [false, true] {
        if cancelled_first {
            token.cancel();
        }
        let mut future = lock.acquire_async(Request::exclusive().cancel(&token));
        assert!(poll_once(&mut future).is_pending());
        if !cancelled_first {
            queue::wait_for(lock.path(), std::process::id());
            token.cancel();
        }
        let ended = block_on(future);
        assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    }
    queue::eventually("the waiting threads end", || waiting_threads() == 0);
}

fn a_dropped_future_leaves_the_queue() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut holder = Actor::holding(ACTOR, lock.path());
    let mut future = lock.lock_async();
    assert!(poll_once(&mut future).is_pending());
    queue::wait_for(lock.path(), std::process::id());
    drop(future);
    queue::eventually("nobody queues", || queue::waiters(lock.path()).is_empty());
    queue::eventually("no thread waits", || waiting_threads() == 0);
    holder.must("release");
    holder.must("try");
}

fn a_dropped_future_leaves_no_lock_behind() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let other = FileLock::open(lock.path()).expect("opens");
    let started = Instant::now();
    // A busy machine does not reach the last round.
    let all = (0..2000).take_while(|_| started.elapsed() < Duration::from_secs(40));
    for round in all {
        let held = other.lock().expect("nobody has it");
        let mut future = lock.lock_async();
        assert!(poll_once(&mut future).is_pending());
        // Sometimes before the thread waits, sometimes during the wait, sometimes after it has
        // acquired the lock.
        let begin = Instant::now();
        let pause = Duration::from_micros(round % 200);
        while begin.elapsed() < pause {
            std::hint::spin_loop();
        }
        drop(held);
        if round % 2 == 0 {
            std::thread::yield_now();
        }
        drop(future);
        // The lock is free now or in a moment, and never stays held.
        drop(other.try_lock_for(Duration::from_secs(20)).expect("free"));
    }
}

fn a_cancelled_wait_is_seen_through() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let _holder = Actor::holding(ACTOR, lock.path());
    for _ in 0..200 {
        let mut future = lock.lock_async();
        assert!(poll_once(&mut future).is_pending());
        queue::wait_for(lock.path(), std::process::id());
        future.cancel();
        let answer = block_on(future);
        assert!(matches!(answer, Err(Error::Cancelled { .. })), "{answer:?}");
        assert_eq!(queue::waiters(lock.path()), []);
    }
}

fn a_limit_is_kept_and_the_error_names_the_holder() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let holder = Actor::holding(ACTOR, lock.path());
    let begin = Instant::now();
    let error = block_on(lock.lock_async().timeout(Duration::from_millis(50)));
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_millis(50) && took < Duration::from_secs(60),
        "{took:?}"
    );
    let Err(Error::TimedOut(conflict)) = error else {
        panic!("{error:?}");
    };
    assert_eq!(conflict.holders()[0].pid, holder.pid());
}

fn many_tasks_get_the_lock_one_after_another() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let inside = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut holder = Actor::holding(ACTOR, lock.path());
    let mut tasks: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    for _ in 0..50 {
        let (lock, inside) = (lock.clone(), inside.clone());
        tasks.push(Box::pin(async move {
            use std::sync::atomic::Ordering::SeqCst;
            let _guard = lock.lock_async().await.expect("comes");
            assert!(!inside.swap(true, SeqCst), "two at once");
            inside.store(false, SeqCst);
        }));
    }
    let waker = waker();
    let mut released = false;
    while !tasks.is_empty() {
        tasks.retain_mut(|task| {
            task.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        });
        if !std::mem::replace(&mut released, true) {
            assert_eq!(tasks.len(), 50);
            holder.must("release");
        } else if !tasks.is_empty() {
            std::thread::park();
        }
    }
}

/// The wait goes on behind the await; dropping the future ends it, and no member stays locked.
fn a_set_and_the_right_to_upgrade_are_awaited() {
    let scratch = Scratch::new();
    let paths = ["a", "b"].map(|name| scratch.path(name));
    let options = LockOptions::new().upgradeable(true);
    let locks = paths
        .each_ref()
        .map(|path| options.open(path).expect("opens"));
    let set = LockSet::new(&locks);
    let mut other = Actor::start(ACTOR, &paths[1]);
    other.must("lock");
    let mut abandoned = set.lock_async();
    assert!(poll_once(&mut abandoned).is_pending());
    queue::wait_for(&paths[1], std::process::id());
    drop(abandoned);
    let limit = Duration::from_millis(20);
    let error = block_on(set.lock_async().timeout(limit)).expect_err("held");
    assert_eq!(error.path(), paths[1]);
    drop(locks[0].try_lock().expect("no set holds it"));
    let mut pending = set.lock_async();
    assert!(poll_once(&mut pending).is_pending());
    let mut right = locks[1].acquire_upgradeable_async(Request::shared());
    assert!(poll_once(&mut right).is_pending());
    drop(right);
    other.must("release");
    let guard = block_on(pending).expect("acquired");
    assert_eq!(guard[1].path(), paths[1]);
    drop(guard);
    let right = locks[1].acquire_upgradeable_async(Request::shared());
    let mut guard = block_on(right).expect("acquired");
    guard.upgrade(Request::exclusive()).expect("upgraded");
}
