//! Many tasks of a process that wait for one lock: they share a thread and a descriptor.

use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, LockFuture, LockOptions, OwnedGuard, Request};
use holdlock_conformance::{Actor, Scratch, queue, sys};

use super::{ACTOR, block_on, open, poll_once, waiting_threads};

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

#[track_caller]
fn pending(future: &mut LockFuture) {
    assert!(poll_once(future).is_pending());
}

pub(super) fn a_thousand_tasks_share_a_thread_and_a_descriptor() {
    // Of a test before.
    queue::eventually("the threads end", || waiting_threads() == 0);
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut holder = Actor::holding(ACTOR, lock.path());
    let before = open_descriptors();
    let mut tasks: Vec<LockFuture> = (0..1000).map(|_| lock.clone().lock_async()).collect();
    tasks.iter_mut().for_each(pending);
    queue::wait_for(lock.path(), std::process::id());
    assert_eq!(waiting_threads(), 1);
    queue::eventually("one queues", || queue::length(lock.path()) == 1);
    assert_eq!(open_descriptors(), before + 1);
    holder.must("release");
    for task in tasks {
        drop(block_on(task).expect("comes"));
    }
    queue::eventually("the thread ends", || waiting_threads() == 0);
}

pub(super) fn queued_tasks_end_by_their_limits_and_tokens() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut holder = Actor::holding(ACTOR, lock.path());
    let mut first = lock.lock_async();
    pending(&mut first);
    let begin = Instant::now();
    let limit = Duration::from_millis(50);
    // They end in the order of their limits, all behind the first one.
    let mut late = lock.lock_async().timeout(2 * limit);
    let mut early = lock.lock_shared_async().timeout(limit);
    pending(&mut late);
    pending(&mut early);
    let Err(Error::TimedOut(conflict)) = block_on(early) else {
        panic!("the lock is held");
    };
    let took = begin.elapsed();
    assert!(took >= limit && took < Duration::from_secs(60), "{took:?}");
    assert!(conflict.waited() >= limit, "{:?}", conflict.waited());
    assert_eq!(conflict.holders()[0].pid, holder.pid());
    let ended = block_on(late);
    assert!(matches!(ended, Err(Error::TimedOut(_))), "{ended:?}");
    // The token of one, and the end of another by its own task.
    let token = CancelToken::new();
    let mut with_token = lock.acquire_async(Request::exclusive().cancel(&token));
    let mut last = lock.lock_async();
    pending(&mut with_token);
    pending(&mut last);
    last.cancel();
    let ended = block_on(last);
    assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    pending(&mut with_token);
    token.cancel();
    let ended = block_on(with_token);
    assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
    // A thread has its name once it runs.
    queue::wait_for(lock.path(), std::process::id());
    assert_eq!(waiting_threads(), 1);
    holder.must("release");
    drop(block_on(first).expect("it is still queued"));
}

pub(super) fn a_dropped_task_passes_its_place_on() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let held = lock.lock().expect("free");
    let mut tasks: Vec<LockFuture> = (0..5).map(|_| lock.lock_async()).collect();
    tasks.iter_mut().for_each(pending);
    let mut last = tasks.pop().expect("five");
    // The gate lets the first one in, which is dropped at that moment or a little later.
    drop(held);
    drop(tasks);
    let guard = block_on(&mut last).expect("the others are gone");
    drop(guard);
    drop(lock.try_lock_for(Duration::from_secs(20)).expect("free"));
    // A task that is dropped in the queue loses its place: the next shared request gets in.
    let shared = lock.lock_shared_owned().expect("free");
    let mut exclusive = lock.lock_async();
    let mut second = lock.lock_shared_async();
    pending(&mut exclusive);
    pending(&mut second);
    let mut first_ends = lock.lock_async();
    pending(&mut first_ends);
    drop(first_ends);
    drop(exclusive);
    drop(block_on(second).expect("shared"));
    drop(shared);
}

/// A service may try again and again while another process holds the lock.
pub(super) fn dropped_tasks_leave_nothing_in_the_queue() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let mut holder = Actor::holding(ACTOR, lock.path());
    // The thread serves this one.
    let mut first = lock.lock_async();
    pending(&mut first);
    queue::wait_for(lock.path(), std::process::id());
    let try_often = || (0..20_000).for_each(|_| pending(&mut lock.lock_async()));
    try_often();
    let before = memory();
    try_often();
    let more = memory().saturating_sub(before);
    // Tasks that stay take hundreds of bytes each.
    assert!(more < 2_000, "{more} kB");
    holder.must("release");
    drop(block_on(first).expect("released"));
}

/// The memory of this process, in kilobytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc");
    let size = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let size = size.and_then(|size| size.trim().strip_suffix(" kB"));
    size.expect("a size").parse().expect("a number")
}

pub(super) fn threads_and_tasks_are_served_in_their_order() {
    let scratch = Scratch::new();
    let lock = LockOptions::new()
        .fair(true)
        .open(scratch.lock())
        .expect("opens");
    let held = lock.lock().expect("free");
    let order = std::sync::Mutex::new(Vec::new());
    let note = |number: u32| order.lock().expect("no panic").push(number);
    std::thread::scope(|scope| {
        let mut tasks = Vec::new();
        for number in 0..6 {
            if number % 2 == 0 {
                let mut task = lock.lock_async();
                pending(&mut task);
                tasks.push((number, task));
            } else {
                let (tell, told) = std::sync::mpsc::channel();
                let (lock, note) = (&lock, &note);
                scope.spawn(move || {
                    tell.send(sys::thread_id()).expect("heard");
                    let _guard = lock.lock().expect("comes");
                    note(number);
                });
                queue::wait_for_thread(told.recv().expect("began"));
            }
        }
        drop(held);
        for (number, task) in tasks {
            let guard = block_on(task).expect("comes");
            note(number);
            drop(guard);
        }
    });
    assert_eq!(*order.lock().expect("no panic"), [0, 1, 2, 3, 4, 5]);
}

pub(super) fn a_shared_task_joins_holders_that_came_meanwhile() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let exclusive = lock.lock().expect("free");
    let mut tasks: Vec<LockFuture> = (0..10).map(|_| lock.lock_shared_async()).collect();
    tasks.iter_mut().for_each(pending);
    let shared = exclusive.downgrade().expect("shared");
    let guards: Vec<OwnedGuard> = tasks
        .into_iter()
        .map(|task| block_on(task).expect("all share"))
        .collect();
    drop((guards, shared));
}

pub(super) fn a_task_that_joined_holders_of_a_removed_file_queues_anew() {
    let scratch = Scratch::new();
    let lock = open(&scratch);
    let exclusive = lock.lock().expect("free");
    let mut tasks: Vec<LockFuture> = (0..4).map(|_| lock.lock_shared_async()).collect();
    tasks.iter_mut().for_each(pending);
    std::fs::remove_file(lock.path()).expect("removed");
    // The tasks join, find that the file is gone, and must not keep one another out.
    let shared = exclusive.downgrade().expect("shared");
    queue::eventually("they wait for the holder", || {
        tasks.iter_mut().all(|task| poll_once(task).is_pending())
    });
    drop(shared);
    for task in tasks {
        let guard = block_on(task).expect("free");
        assert!(guard.is_current().expect("no error"));
    }
}
