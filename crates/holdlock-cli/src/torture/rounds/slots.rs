//! A request for a slot of a semaphore, or for the whole file, which excludes all slots.

use holdlock::Request;

use super::Taker;
use super::limit::Limit;
use super::lock::{ask_by, released};
use crate::torture::fault::Fault;
use crate::torture::finding::Kind;
use crate::torture::mark::{Inside, Members};
use crate::torture::mode::{Mode, SLOTS};

pub(super) fn round(taker: &mut Taker, mode: Mode) {
    let limit = Limit::choose(&mut taker.random);
    if taker.random.u32(..16) == 0 {
        return whole(taker, mode, &limit);
    }
    let Some(semaphore) = taker.semaphore(mode) else {
        return;
    };
    let request = |limit: &Limit| semaphore.acquire(limit.apply(Request::exclusive()));
    let Some(guard) = ask_by(taker, mode, Inside::Exclusive, &limit, request) else {
        return;
    };
    let mut slot = guard.slot();
    if slot >= SLOTS {
        let text = format!("slot {slot} of {SLOTS} slots");
        taker.me.find(Kind::Failed, mode, None, text);
    }
    if taker.strikes(Fault::Slot) {
        slot = (slot + 1) % SLOTS;
    }
    let section = taker.me.enter(mode, Inside::Members(Members::one(slot)));
    taker.linger();
    section.leave();
    released(taker, mode, guard.release());
}

/// By a fair lock on the same file. A lock that is not fair would wait for very long.
fn whole(taker: &mut Taker, mode: Mode, limit: &Limit) {
    let Some(lock) = taker.lock(mode) else { return };
    let request = |limit: &Limit| lock.acquire(limit.apply(Request::exclusive()));
    let Some(guard) = ask_by(taker, mode, Inside::Exclusive, limit, request) else {
        return;
    };
    let section = taker.me.enter(mode, Inside::Members(Members::ALL));
    taker.linger();
    section.leave();
    released(taker, mode, guard.release());
}
