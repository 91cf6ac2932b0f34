//! The models: a few threads each, which use one lock.
//!
//! A model with a step that the lock's user does not see, such as the end of a wait, has that step
//! in a thread of its own or between two steps of the first thread: loom tries all orders.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::model::Builder;
use loom::thread::{self, JoinHandle};

use crate::Mode;
use crate::gate::Occupant;
use crate::lock::Lock;
use crate::sys::{clock, fork, futex};
use crate::wait::{Stop, Stopper, Wait};

/// The clock stands still: running threads pass sleeping ones.
const STILL: u64 = 0;
/// The clock advances by a millisecond at each look: the lock is handed to the first sleeper.
const RUNS: u64 = 1_000_000;

/// Runs a model in all orders in which threads are interrupted at most `interruptions` times while
/// they could go on, with a clock that stands still and with one that runs.
fn check(interruptions: usize, model: fn(Arc<Lock>)) {
    for (fair, step) in [(false, STILL), (false, RUNS), (true, RUNS)] {
        explore(interruptions, step, move || {
            let lock = Lock::new(fair, true);
            // A place that gets in lets running threads pass sleeping ones.
            write_as_task(&lock);
            model(lock.clone());
            lock.assert_free();
        });
    }
}

fn explore(interruptions: usize, step: u64, model: impl Fn() + Send + Sync + 'static) {
    let runs = Arc::new(AtomicU64::new(0));
    let counter = runs.clone();
    let mut builder = Builder::new();
    // LOOM_MAX_PREEMPTIONS asks for more.
    builder.preemption_bound.get_or_insert(interruptions);
    builder.max_branches = 20_000;
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        fork::new_process();
        clock::start(step);
        model();
    });
    println!("{} runs", runs.load(Ordering::Relaxed));
}

fn spawn(lock: &Arc<Lock>, act: fn(&Lock)) -> JoinHandle<()> {
    let lock = lock.clone();
    thread::spawn(move || act(&lock))
}

fn write(lock: &Lock) {
    lock.write(Wait::forever()).unwrap();
}

fn read(lock: &Lock) {
    lock.read(Wait::forever()).unwrap();
}

/// Takes a place, waits for its turn, and has an exclusive section.
fn write_as_task(lock: &Lock) {
    let place = lock.queue_up(Mode::Exclusive);
    let file = lock.take_queued(&place, Mode::Exclusive, Wait::forever());
    lock.change();
    lock.leave(&file.unwrap());
}

/// Waits until so many threads sleep in the queue.
fn wait_for_sleepers(count: usize) {
    while futex::sleepers() < count {
        thread::yield_now();
    }
}

fn join<const N: usize>(threads: [JoinHandle<()>; N]) {
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn two_writers_exclude_each_other() {
    check(3, |lock| {
        let other = spawn(&lock, write);
        write(&lock);
        join([other]);
    });
}

#[test]
fn two_writers_exclude_each_other_again_and_again() {
    fn twice(lock: &Lock) {
        write(lock);
        write(lock);
    }
    check(2, |lock| {
        let other = spawn(&lock, twice);
        twice(&lock);
        join([other]);
    });
}

#[test]
fn three_writers_exclude_each_other() {
    check(1, |lock| {
        let others = [spawn(&lock, write), spawn(&lock, write)];
        write(&lock);
        join(others);
    });
}

#[test]
fn a_reader_and_a_writer_exclude_each_other() {
    check(3, |lock| {
        let other = spawn(&lock, read);
        write(&lock);
        join([other]);
    });
}

#[test]
fn readers_share_the_lock_and_a_writer_gets_it_after_them() {
    // Not with all clocks, because this model has very many orders.
    explore(1, STILL, || {
        let lock = Lock::new(false, true);
        let me = Occupant::this_thread();
        let file = lock.take(Mode::Shared, me, &mut Wait::forever()).unwrap();
        let others = [spawn(&lock, write), spawn(&lock, read)];
        lock.look();
        lock.leave_shared(me, &file);
        join(others);
        lock.assert_free();
    });
}

#[test]
fn a_writer_that_becomes_a_reader_lets_readers_in() {
    check(2, |lock| {
        let me = Occupant::this_thread();
        let file = lock
            .take(Mode::Exclusive, me, &mut Wait::forever())
            .unwrap();
        let other = spawn(&lock, read);
        lock.change();
        lock.gate.share(me);
        lock.look();
        // While the lock is shared, the reader can get it.
        other.join().unwrap();
        lock.leave_shared(me, &file);
    });
}

#[test]
fn a_reader_becomes_a_writer_only_if_it_is_alone() {
    check(2, |lock| {
        let me = Occupant::this_thread();
        let file = lock.take(Mode::Shared, me, &mut Wait::forever()).unwrap();
        let other = spawn(&lock, read);
        if lock.gate.unshare(me) {
            lock.change();
            lock.leave(&file);
        } else {
            lock.leave_shared(me, &file);
        }
        join([other]);
    });
}

/// A request whose wait may be stopped. Either it has its section or it gives up.
fn write_until(lock: &Lock, stopper: &Arc<Stopper>) {
    match lock.write(Wait::until(stopper)) {
        Ok(()) | Err(Stop::Stopped) => {}
        Err(stop) => panic!("{stop:?}"),
    }
}

#[test]
fn a_stopped_wait_leaves_nothing_behind() {
    check(3, |lock| {
        let me = Occupant::this_thread();
        let file = lock
            .take(Mode::Exclusive, me, &mut Wait::forever())
            .unwrap();
        let stopper = Arc::new(Stopper::default());
        let waiter = {
            let (lock, stopper) = (lock.clone(), stopper.clone());
            thread::spawn(move || write_until(&lock, &stopper))
        };
        stopper.stop();
        lock.leave(&file);
        join([waiter]);
    });
}

#[test]
fn a_lock_that_was_kept_for_a_stopped_wait_is_given_back() {
    check(3, |lock| {
        let me = Occupant::this_thread();
        let file = lock
            .take(Mode::Exclusive, me, &mut Wait::forever())
            .unwrap();
        let stopper = Arc::new(Stopper::default());
        let waiter = {
            let (lock, stopper) = (lock.clone(), stopper.clone());
            thread::spawn(move || write_until(&lock, &stopper))
        };
        wait_for_sleepers(1);
        stopper.stop();
        // Tells the waiter to try.
        lock.leave(&file);
        // Passes the waiter, and keeps the kernel's lock for it.
        write(&lock);
        join([waiter]);
    });
}

#[test]
fn a_wait_is_stopped_while_the_lock_stays_held() {
    check(2, |lock| {
        let me = Occupant::this_thread();
        let file = lock
            .take(Mode::Exclusive, me, &mut Wait::forever())
            .unwrap();
        let stopper = Arc::new(Stopper::default());
        let waiter = {
            let (lock, stopper) = (lock.clone(), stopper.clone());
            thread::spawn(move || assert_eq!(lock.write(Wait::until(&stopper)), Err(Stop::Stopped)))
        };
        stopper.stop();
        join([waiter]);
        lock.leave(&file);
    });
}

#[test]
fn a_stopped_waiter_passes_its_wake_up_on() {
    check(2, |lock| {
        let me = Occupant::this_thread();
        let file = lock
            .take(Mode::Exclusive, me, &mut Wait::forever())
            .unwrap();
        let stopper = Arc::new(Stopper::default());
        let stopped = {
            let (lock, stopper) = (lock.clone(), stopper.clone());
            thread::spawn(move || write_until(&lock, &stopper))
        };
        wait_for_sleepers(1);
        let other = spawn(&lock, write);
        wait_for_sleepers(2);
        stopper.stop();
        lock.leave(&file);
        join([stopped, other]);
    });
}

#[test]
fn readers_behind_a_stopped_writer_get_in() {
    check(2, |lock| {
        let me = Occupant::this_thread();
        let file = lock.take(Mode::Shared, me, &mut Wait::forever()).unwrap();
        let stopper = Arc::new(Stopper::default());
        let stopped = {
            let (lock, stopper) = (lock.clone(), stopper.clone());
            thread::spawn(move || write_until(&lock, &stopper))
        };
        wait_for_sleepers(1);
        let other = spawn(&lock, read);
        wait_for_sleepers(2);
        stopper.stop();
        // The reader gets in while this thread holds the lock.
        join([stopped, other]);
        lock.leave_shared(me, &file);
    });
}

#[test]
fn a_task_gets_its_turn() {
    check(3, |lock| {
        let other = spawn(&lock, write_as_task);
        write(&lock);
        join([other]);
    });
}

#[test]
fn a_task_that_withdraws_leaves_nothing_behind() {
    check(3, |lock| {
        let other = spawn(&lock, |lock| {
            let place = lock.queue_up(Mode::Exclusive);
            if !lock.withdraw(&place) {
                let file = lock.take_queued(&place, Mode::Exclusive, Wait::forever());
                lock.change();
                lock.leave(&file.unwrap());
            }
        });
        write(&lock);
        join([other]);
    });
}

/// The lock was exclusive when the task tried it, and is shared when the task queues.
#[test]
fn a_task_joins_shared_holders_that_came_before_its_place() {
    check(1, |lock| {
        let holder = Occupant::this_thread();
        let held = lock.take(Mode::Shared, holder, &mut Wait::forever());
        let place = lock.queue_up(Mode::Shared);
        let joined = lock.take_queued(&place, Mode::Shared, Wait::forever());
        lock.look();
        lock.leave_shared(Occupant::ANY, &joined.unwrap());
        lock.leave_shared(holder, &held.unwrap());
    });
}

#[test]
fn an_unused_file_is_closed_and_never_a_held_one() {
    explore(1, STILL, || {
        let lock = Lock::new(false, false);
        // So many quick sections that the file is kept, and a helper thread looks after it.
        for _ in 0..17 {
            write(&lock);
        }
        assert_eq!(lock.kernel.open_files(), 1, "the file is kept");
        let other = spawn(&lock, write);
        write(&lock);
        join([other]);
        while lock.kernel.open_files() > 0 {
            thread::yield_now();
        }
        lock.assert_free();
    });
}
