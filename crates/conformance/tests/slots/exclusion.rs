//! At most N holders, each with a slot of its own, whatever dies and whoever else uses the file.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use holdlock::{FileLock, Semaphore};
use holdlock_conformance::witness::Witness;
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

use crate::actors::{ACTOR, actor, holders, must_queue, must_wait_at_head, slot, slot_in};

const STRANGER: &str = env!("CARGO_BIN_EXE_stranger");

#[test]
fn no_two_holders_have_the_same_slot_whatever_is_killed() {
    const SLOTS: u32 = 3;
    let _dog = watchdog::watch(300);
    let scratch = Scratch::new();
    let start = || {
        let mut command = Command::new(ACTOR);
        command.arg("worker").arg(scratch.directory());
        command.arg(SLOTS.to_string()).stdin(Stdio::null());
        command.spawn().expect("a worker")
    };
    let end = |worker: &mut Child| {
        worker.kill().expect("killed");
        worker.wait().expect("ended");
    };
    let witnesses: Vec<Witness> = (0..SLOTS)
        .map(|slot| Witness::open(&scratch.path(&format!("witness-{slot}"))))
        .collect();
    let sections = || witnesses.iter().map(Witness::acquisitions).sum::<u64>();
    let mut workers: Vec<Child> = (0..6).map(|_| start()).collect();
    let began = Instant::now();
    let mut killed = 0;
    while sections() < 30_000 && began.elapsed() < Duration::from_secs(30) || killed < 10 {
        let before = sections();
        // Each kill follows progress: a dead holder blocks nobody.
        queue::eventually("progress", || sections() > before + 50);
        let victim = fastrand::usize(..workers.len());
        end(&mut workers[victim]);
        workers[victim] = start();
        killed += 1;
    }
    workers.iter_mut().for_each(end);
    for (slot, witness) in witnesses.iter().enumerate() {
        assert!(witness.acquisitions() > 0, "slot {slot} was never used");
        assert_eq!((witness.overlaps(), witness.noted()), (0, 0), "slot {slot}");
    }
    // All slots are free now.
    let semaphore = Semaphore::open(scratch.path("lock"), SLOTS).expect("opens");
    let guards: Vec<_> = (0..SLOTS)
        .map(|_| semaphore.try_lock().expect("free"))
        .collect();
    assert!(semaphore.try_lock().is_err());
    drop(guards);
}

#[test]
fn threads_share_a_semaphore() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 3).expect("opens");
    let busy: [std::sync::atomic::AtomicBool; 3] = Default::default();
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let guard = semaphore.lock().expect("its turn");
                    let busy = &busy[guard.slot() as usize];
                    assert!(!busy.swap(true, std::sync::atomic::Ordering::SeqCst));
                    std::hint::spin_loop();
                    busy.store(false, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
}

#[test]
fn a_killed_holder_frees_its_slot_even_with_a_child_around() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 2);
    let child = holders[1].ask("fork").parse().expect("a pid");
    let mut waiter = actor(&path, 2);
    must_wait_at_head(&mut waiter, "lock", &path, 2);
    holders.remove(1).kill();
    assert_eq!(slot_in(&waiter.answer()), 1);
    // The child has not noticed.
    sys::kill(child, libc::SIGKILL);
}

#[test]
fn a_release_frees_the_slot_although_a_child_has_the_open_file() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = actor(&path, 1);
    assert_eq!(slot(&mut holder, "lock"), 0);
    let child = holder.ask("bare-fork").parse().expect("a pid");
    let mut waiter = actor(&path, 1);
    must_wait_at_head(&mut waiter, "lock", &path, 1);
    holder.must("release");
    assert_eq!(slot_in(&waiter.answer()), 0);
    assert!(
        FileLock::open(&path)
            .expect("opens")
            .try_lock_shared()
            .is_ok()
    );
    sys::kill(child, libc::SIGKILL);
}

#[test]
fn a_slot_that_was_handed_over_is_kept_by_the_child() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = actor(&path, 1);
    assert_eq!(slot(&mut holder, "lock"), 0);
    let child = holder.ask("hand-over").parse().expect("a pid");
    assert!(actor(&path, 1).ask("try").starts_with("WouldBlock"));
    holder.kill();
    assert!(actor(&path, 1).ask("try").starts_with("WouldBlock"));
    sys::kill(child, libc::SIGKILL);
    assert_eq!(slot(&mut actor(&path, 1), "lock"), 0);
}

#[test]
fn an_exclusive_user_of_flock_and_the_slots_exclude_each_other() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let file = File::create(&path).expect("created");
    file.lock().expect("free");
    let mut one = actor(&path, 2);
    let error = one.ask("try");
    assert!(
        error.starts_with("WouldBlock") && error.contains("already locked"),
        "{error}"
    );
    one.tell("lock");
    queue::wait_for(&path, one.pid());
    file.unlock().expect("ours");
    assert_eq!(slot_in(&one.answer()), 0);
    assert!(file.try_lock().is_err(), "a slot is held");
    let mut two = actor(&path, 2);
    assert_eq!(slot(&mut two, "lock"), 1);
    one.must("release");
    assert!(file.try_lock().is_err(), "a slot is held");
    two.must("release");
    file.try_lock().expect("no slot is held");
}

/// As mail programs do, which lock by flock(2) and by fcntl(2).
#[test]
fn a_program_that_locks_the_whole_file_by_both_calls_is_not_kept_out_by_a_waiter() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut mail = Command::new(STRANGER);
    mail.arg(&path);
    let mut mail = Actor::from_command(mail);
    mail.must("flock 0 ex");
    let (mut first, mut second) = (actor(&path, 2), actor(&path, 2));
    first.tell("lock");
    queue::wait_for(&path, first.pid());
    must_queue(&mut second, "lock");
    mail.must("ofd 0 ex");
    mail.must("ofd 0 un");
    mail.must("flock 0 un");
    let mut slots = [slot_in(&first.answer()), slot_in(&second.answer())];
    slots.sort_unstable();
    assert_eq!(slots, [0, 1]);
}

#[test]
fn a_file_that_was_removed_is_noticed() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = actor(&path, 1);
    assert_eq!(slot(&mut holder, "lock"), 0);
    let mut waiter = actor(&path, 1);
    must_wait_at_head(&mut waiter, "lock", &path, 1);
    holder.must("remove");
    assert_eq!(holder.ask("current"), "false");
    // A new file would let a second holder in.
    assert!(actor_answer(&path, 1, "lock").starts_with("RemovedWhileHeld"));
    holder.must("release");
    // The waiter starts over with a new file.
    assert_eq!(slot_in(&waiter.answer()), 0);
    assert_eq!(waiter.ask("current"), "true");
    assert!(actor(&path, 1).ask("try").starts_with("WouldBlock"));
}

/// The answer to an order by a process that opens the file only then.
fn actor_answer(path: &Path, slots: u32, order: &str) -> String {
    let semaphore = match Semaphore::open(path, slots) {
        Ok(semaphore) => semaphore,
        Err(error) => return format!("{error:?}"),
    };
    assert_eq!(order, "lock");
    semaphore
        .lock()
        .map_or_else(|error| format!("{error:?}"), |_| "ok".into())
}

#[test]
fn a_descriptor_that_was_closed_by_others_is_noticed() {
    use std::os::fd::{AsFd, AsRawFd};
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 1).expect("opens");
    let guard = semaphore.lock_owned().expect("free");
    sys::close(guard.as_fd().as_raw_fd());
    assert!(!guard.is_current().expect("the path is there"));
    // A process that another test has just started may have a copy of the descriptor for a moment.
    let next =
        holdlock_test_support::wait_for("the kernel frees the slot", || semaphore.try_lock().ok());
    let error = guard.release().expect_err("it was lost before");
    assert!(
        error.to_string().contains("closed the descriptor"),
        "{error}"
    );
    assert!(next.is_current().expect("the path is there"));
}
