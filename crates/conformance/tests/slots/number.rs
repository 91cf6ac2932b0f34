//! The number of slots, which is the same for all users.

use holdlock::{Error, LockOptions, Request, Semaphore};
use holdlock_conformance::{Scratch, watchdog};

use crate::actors::{actor, must_queue, must_wait_at_head, slot, slot_in};

#[test]
fn another_number_of_slots_is_refused_while_anybody_holds() {
    let _dog = watchdog::watch(60);
    let scratch = Scratch::new();
    let path = scratch.lock();
    let mut holder = actor(&path, 3);
    assert_eq!(slot(&mut holder, "lock"), 0);
    let four = Semaphore::open(&path, 4).expect("opens");
    let two = Semaphore::open(&path, 2).expect("opens");
    let one = Semaphore::open(&path, 1).expect("opens");
    for (other, slots, spoken) in [
        (&four, 4, "4 slots"),
        (&two, 2, "2 slots"),
        (&one, 1, "1 slot"),
    ] {
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
        let wanted = format!("cannot use {spoken}: the file is in use with 3");
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
    let upgradeable = LockOptions::new().upgradeable(true);
    let error = upgradeable
        .open_semaphore(&path, 1)
        .expect_err("a slot has one holder");
    assert!(
        error.to_string().contains("cannot be upgraded") && !path.exists(),
        "{error}"
    );
    let semaphore = Semaphore::open(&path, 1).expect("opens");
    let shared = semaphore
        .acquire(Request::shared())
        .expect_err("a slot has one holder");
    assert!(shared.to_string().contains("exclusive"), "{shared}");
}
