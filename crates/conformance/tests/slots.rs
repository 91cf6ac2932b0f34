//! Semaphores: at most N holders, each with a slot of its own, whatever dies, in the order of
//! arrival.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use holdlock::{CancelToken, Error, FileLock, LockOptions, Request, Semaphore, inspect};
use holdlock_conformance::witness::Witness;
use holdlock_conformance::{Actor, Scratch, queue, sys, watchdog};

const ACTOR: &str = env!("CARGO_BIN_EXE_slot-actor");
const STRANGER: &str = env!("CARGO_BIN_EXE_stranger");

fn actor(path: &Path, slots: u32) -> Actor {
    actor_with(path, slots, &[])
}

fn actor_with(path: &Path, slots: u32, options: &[&str]) -> Actor {
    let mut command = Command::new(ACTOR);
    command.arg(path).arg(slots.to_string()).args(options);
    Actor::from_command(command)
}

/// The slot that the actor has acquired by this order.
#[track_caller]
fn slot(actor: &mut Actor, order: &str) -> u32 {
    let answer = actor.ask(order);
    slot_in(&answer)
}

#[track_caller]
fn slot_in(answer: &str) -> u32 {
    let slot = answer
        .strip_prefix("ok ")
        .and_then(|slot| slot.parse().ok());
    slot.unwrap_or_else(|| panic!("{answer}"))
}

/// Gives the order, after which the actor waits for all slots at the head of the queue.
fn must_wait_at_head(actor: &mut Actor, order: &str, path: &Path, slots: usize) {
    actor.tell(order);
    queue::eventually("a request waits for all slots", || {
        queue::length(path) == slots
    });
}

/// Gives the order, after which the actor waits behind another request.
fn must_queue(actor: &mut Actor, order: &str) {
    actor.tell(order);
    sys::wait_until_queued(actor.pid(), &[libc::SYS_fcntl]);
}

/// Actors that hold all slots; the first one holds slot 0.
fn holders(path: &Path, slots: u32) -> Vec<Actor> {
    let hold = |number| {
        let mut actor = actor(path, slots);
        assert_eq!(slot(&mut actor, "lock"), number);
        actor
    };
    (0..slots).map(hold).collect()
}

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
fn a_released_slot_goes_to_the_first_waiter() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 3);
    let mut first = actor(&path, 3);
    must_wait_at_head(&mut first, "lock", &path, 3);
    let mut second = actor(&path, 3);
    must_queue(&mut second, "lock");
    let mut third = actor(&path, 3);
    must_queue(&mut third, "lock");
    // A new request does not pass them.
    assert!(actor(&path, 3).ask("try").starts_with("WouldBlock"));
    holders[1].must("release");
    assert_eq!(slot_in(&first.answer()), 1);
    holders[2].must("release");
    assert_eq!(slot_in(&second.answer()), 2);
    // The number is used again at once.
    first.must("release");
    assert_eq!(slot_in(&third.answer()), 1);
    holders[0].must("release");
    assert_eq!(slot(&mut holders[1], "lock"), 0);
}

#[test]
fn waiters_are_served_in_the_order_of_arrival() {
    let _dog = watchdog::watch(120);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 2);
    let mut waiters = Vec::new();
    for number in 0..8 {
        let mut waiter = actor(&path, 2);
        if number == 0 {
            must_wait_at_head(&mut waiter, "lock", &path, 2);
        } else {
            must_queue(&mut waiter, "lock");
        }
        waiters.push(waiter);
    }
    let semaphore = Semaphore::open(&path, 2).expect("opens");
    let pids: Vec<u32> = waiters.iter().map(Actor::pid).collect();
    let seen = semaphore.waiters().expect("readable");
    let seen: Vec<u32> = seen.iter().map(|waiter| waiter.pid).collect();
    assert_eq!(seen, pids);
    let mut last = holders.remove(1);
    for (number, mut waiter) in waiters.into_iter().enumerate() {
        last.must("release");
        assert_eq!(slot_in(&waiter.answer()), 1, "waiter {number}");
        last = waiter;
    }
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
fn a_killed_waiter_leaves_no_thread_and_no_slot_behind() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 3);
    for _ in 0..20 {
        let mut head = actor(&path, 3);
        must_wait_at_head(&mut head, "lock", &path, 3);
        let mut next = actor(&path, 3);
        must_queue(&mut next, "lock");
        head.kill();
        holders[0].must("release");
        assert_eq!(slot_in(&next.answer()), 0);
        holders[0] = next;
    }
}

#[test]
fn another_number_of_slots_is_refused_while_anybody_holds() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = actor(&path, 3);
    assert_eq!(slot(&mut holder, "lock"), 0);
    let four = Semaphore::open(&path, 4).expect("opens");
    let two = Semaphore::open(&path, 2).expect("opens");
    for (other, slots) in [(&four, 4), (&two, 2)] {
        let error = other.lock().expect_err("in use with 3");
        let Error::DifferentSlots {
            conflict,
            slots: ours,
            in_use,
            ..
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((*ours, *in_use), (slots, 3));
        assert_eq!(conflict.holders()[0].pid, holder.pid());
        let said = error.to_string();
        let pid = format!("by pid {} ", holder.pid());
        let wanted = format!("cannot use {slots} slots: the file is in use with 3");
        assert!(said.contains(&wanted) && said.contains(&pid), "{said}");
    }
    holder.must("release");
    let guard = four.lock().expect("free again");
    assert!(holder.ask("lock").starts_with("DifferentSlots"));
    drop(guard);
    assert_eq!(slot(&mut holder, "lock"), 0);
}

#[test]
fn a_waiting_request_also_makes_its_number_of_slots_known() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = actor(&path, 1);
    assert_eq!(slot(&mut holder, "lock"), 0);
    let mut head = actor(&path, 1);
    must_wait_at_head(&mut head, "lock", &path, 1);
    // Both requests queue behind the head, and only one of the numbers can be right.
    let mut next = actor(&path, 1);
    must_queue(&mut next, "lock");
    assert!(actor(&path, 2).ask("lock").starts_with("DifferentSlots"));
    holder.must("release");
    assert_eq!(slot_in(&head.answer()), 0);
    head.must("release");
    assert_eq!(slot_in(&next.answer()), 0);
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
        let seen = |answer: String| answer.split_once(' ').expect("two").1 == "1";
        queue::eventually("all threads have ended", || seen(waiter.ask("fds")));
        waiter.ask("fds")
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
    queue::eventually("all threads sleep", || {
        let before = both();
        sys::sleep(Duration::from_millis(30)) && both() == before
    });
    let before = both();
    assert_eq!(before.0.len(), 4, "a thread for each slot");
    assert_eq!(before.1.len(), 1, "only the head has threads");
    sys::sleep(Duration::from_millis(300));
    assert_eq!(both(), before);
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
fn a_bad_number_of_slots_is_refused_and_creates_nothing() {
    let scratch = Scratch::new();
    let path = scratch.lock();
    for slots in [0, Semaphore::MAX_SLOTS + 1, u32::MAX] {
        let error = Semaphore::open(&path, slots).expect_err("a bad number");
        assert!(error.to_string().contains("has 1 to"), "{error}");
        assert!(matches!(error, Error::Open { .. }) && !path.exists());
    }
    let deleting = LockOptions::new().delete_on_release(true);
    assert!(deleting.open_semaphore(&path, 1).is_err() && !path.exists());
    let ofd = LockOptions::new().family(holdlock::Family::Ofd);
    assert!(ofd.open_semaphore(&path, 1).is_err() && !path.exists());
    let semaphore = Semaphore::open(&path, 1).expect("opens");
    let shared = semaphore
        .acquire(Request::shared())
        .expect_err("a slot has one holder");
    assert!(shared.to_string().contains("exclusive"), "{shared}");
}

#[test]
fn a_thread_that_holds_all_slots_is_told() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 2).expect("opens");
    let again = Semaphore::open(scratch.lock(), 2).expect("opens");
    let one = semaphore.lock().expect("free");
    let two = again.lock().expect("free");
    assert!(matches!(semaphore.lock(), Err(Error::Deadlock { .. })));
    let whole = FileLock::open(scratch.lock()).expect("opens");
    assert!(matches!(whole.lock(), Err(Error::Deadlock { .. })));
    drop(one);
    let three = semaphore.lock().expect("one is free");
    drop((two, three));
    let _whole = whole.lock().expect("free");
    assert!(matches!(semaphore.lock(), Err(Error::Deadlock { .. })));
}

#[test]
fn a_thread_that_holds_a_slot_may_wait_for_another_one() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let semaphore = Semaphore::open(&path, 2).expect("opens");
    let mut other = actor(&path, 2);
    assert_eq!(slot(&mut other, "lock"), 0);
    let one = semaphore.lock().expect("free");
    let mut began = |_| ControlFlow::Continue(());
    thread::scope(|scope| {
        scope.spawn(|| {
            queue::eventually("the thread waits", || queue::length(&path) == 2);
            // Longer than it takes to look for deadlocks.
            sys::sleep(Duration::from_millis(700));
            other.must("release");
        });
        let request = Request::exclusive()
            .notice_deadlocks(true)
            .on_wait(&mut began);
        let two = semaphore.acquire(request).expect("the other one releases");
        assert_eq!((one.slot(), two.slot()), (1, 0));
    });
}

/// Each of two processes waits for what the other one has, but there is a second slot.
#[test]
fn a_cycle_through_a_slot_is_no_deadlock_while_another_holder_may_release() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holders = holders(&path, 2);
    let other = format!("also {}", scratch.path("other.lock").display());
    let mut waiter = actor(&path, 2);
    waiter.must(&other);
    must_wait_at_head(&mut waiter, "lock", &path, 2);
    holders[0].tell(&other);
    queue::wait_for(&scratch.path("other.lock"), holders[0].pid());
    // Longer than it takes to look for deadlocks, a few times.
    sys::sleep(Duration::from_millis(1800));
    // Other programs may have theirs.
    let pids = [waiter.pid(), holders[0].pid()];
    let cycles = inspect::host().expect("readable").deadlocks();
    let mut waiters = cycles
        .iter()
        .flat_map(|cycle| &cycle.steps)
        .map(|step| step.waiter.pid);
    assert!(!waiters.any(|pid| pids.contains(&pid)), "{cycles:?}");
    holders[1].must("release");
    assert_eq!(slot_in(&waiter.answer()), 1);
    waiter.must("release-also");
    assert_eq!(holders[0].answer(), "ok");
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
fn a_request_of_a_callback_for_the_same_semaphore_is_a_deadlock() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 1).expect("opens");
    let held = semaphore.lock_owned().expect("free");
    let again = Semaphore::open(scratch.lock(), 1).expect("opens");
    let mut seen = Vec::new();
    let request = Request::exclusive().on_wait(|_| {
        for other in [&semaphore, &again] {
            seen.push(
                other
                    .lock()
                    .err()
                    .map(|error| matches!(error, Error::Deadlock { .. })),
            );
        }
        ControlFlow::Break(())
    });
    assert!(matches!(
        semaphore.acquire(request),
        Err(Error::Cancelled { .. })
    ));
    drop(held);
    assert_eq!(seen, [Some(true), Some(true)]);
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
fn a_descriptor_that_was_closed_by_others_is_noticed() {
    use std::os::fd::{AsFd, AsRawFd};
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let semaphore = Semaphore::open(scratch.lock(), 1).expect("opens");
    let guard = semaphore.lock_owned().expect("free");
    sys::close(guard.as_fd().as_raw_fd());
    assert!(!guard.is_current().expect("the path is there"));
    let next = semaphore.try_lock().expect("the kernel has freed the slot");
    let error = guard.release().expect_err("not ours any more");
    assert!(
        error.to_string().contains("closed the descriptor"),
        "{error}"
    );
    assert!(next.is_current().expect("the path is there"));
}

#[test]
fn inspection_shows_which_slot_each_holder_has() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let holders = holders(&path, 2);
    let mut head = actor(&path, 2);
    must_wait_at_head(&mut head, "lock", &path, 2);
    let mut next = actor(&path, 2);
    must_queue(&mut next, "lock");
    let snapshot = inspect::file(&path).expect("readable");
    let file = &snapshot.files[0];
    assert_eq!(file.slots, Some(2));
    let mut seen: Vec<(Option<u32>, u32)> = file
        .locks
        .iter()
        .map(|lock| (lock.slot, lock.holders[0].process.pid))
        .collect();
    seen.sort_unstable();
    assert_eq!(
        seen,
        [(Some(0), holders[0].pid()), (Some(1), holders[1].pid())]
    );
    let waiting: Vec<(u32, u32, bool)> = file
        .waiters
        .iter()
        .map(|it| {
            (
                it.turn,
                it.process.as_ref().map_or(0, |it| it.pid),
                it.is_for_a_slot(),
            )
        })
        .collect();
    assert_eq!(waiting, [(1, head.pid(), true), (2, next.pid(), true)]);
    assert!(snapshot.deadlocks().is_empty());
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
